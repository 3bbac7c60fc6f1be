"""Damaged definitions: each is a build, or one error with a position."""

import random
from pathlib import Path

import pytest

from templater.checks.authored_image import authored
from templater.checks.image_scanner import scanned_definition
from templater.checks.run_checks import audit
from templater.definitions.choice import Choice
from templater.definitions.predicted_image import build
from templater.model.errors import TemplaterError
from templater.model.hosts import HOSTS
from templater.model.source import Source

ROOT = Path(__file__).resolve().parents[3]
TEXTS = [
    path.read_text()
    for pattern in ("sample-images/definitions/*.yaml", "tests/definitions/*/definition.yaml")
    for path in sorted(ROOT.glob(pattern))
]
TOKENS = [
    "{{", "}}", "{%", "%}", "pongo: true, ", "\x00", "..", "/", "'", '"', "[", "]", "{", "}", "null", "~", "&a ",
    "*a", "<<: ", "|", "\n", "- ", ": ", "😀", "\\ud800", "\\x80", "x" * 300, "types: [vm]", "name: ", "99999999999999999999",
]  # fmt: skip


def damaged(random: random.Random) -> str:
    text = random.choice(TEXTS)
    for _ in range(random.randint(1, 4)):
        at, kind = random.randrange(len(text)), random.random()
        if kind < 0.5:
            text = text[:at] + random.choice(TOKENS) + text[at:]
        elif kind < 0.8:
            text = text[:at] + text[at + random.randint(1, 9) :]
        else:
            lines = text.split("\n")
            lines.insert(random.randrange(len(lines)), random.choice(lines))
            text = "\n".join(lines)
    return text


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_every_error_about_a_damaged_definition_has_a_position(seed):
    source, builds, errors = random.Random(seed), 0, 0
    for _ in range(120):
        text = damaged(source)
        try:
            image = build(Source("d.yaml", text), Choice(("image.serial=s",)))
        except TemplaterError as error:
            errors += 1
            assert error.span is not None
            assert error.span.place.startswith("d.yaml:")
            assert error.explain()
            continue
        builds += 1
        assert image.read_metadata().text
        if builds % 5 == 0:
            scanned = authored(scanned_definition(image), (HOSTS["incus"],), ())
            assert all(finding.span is None or finding.place for finding in audit(scanned, "authoring"))
    assert builds > 5
    assert errors > 50
