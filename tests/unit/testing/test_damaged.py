"""Damaged test files: each runs, or is one error with a position."""

import random
import shutil
from pathlib import Path

import pytest

from templater.limit_option import Given
from templater.model.errors import TemplaterError
from templater.testing.read_tests import read_cases
from templater.testing.run_tests import Session
from templater.testing.tests_folder import Folder

ROOT = Path(__file__).parents[3]
IMAGES = [path.parent for path in sorted((ROOT / "sample-images").glob("*/metadata.yaml"))]
TOKENS = [
    "{{", "{%", "\x00", "..", "/", "'", '"', "[", "]", "{", "}", "null", "~", "&a ", "*a", "<<: ", "|", "\n", "- ", ": ",
    "😀", "\\ud800", "\\x80", "x" * 300, "steps: [start]", "matrix: {host: all}", "absent: true", "snapshot: true",
    "valid: true", "error: true", "rootfs: none", "99999999999999999999", "../", "(a*)*", "copy=c2", "type: virtual-machine",
]  # fmt: skip


def damaged(source: random.Random, text: str) -> str:
    for _ in range(source.randint(1, 2)):
        at, kind = source.randrange(len(text)), source.random()
        if kind < 0.4:
            text = text[:at] + source.choice(TOKENS) + text[at:]
        elif kind < 0.7:
            text = text[:at] + text[at + source.randint(1, 9) :]
        else:
            lines = text.split("\n")
            lines.insert(source.randrange(len(lines)), source.choice(lines))
            text = "\n".join(lines)
    return text


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_damaged_file_is_either_run_or_refused_with_position(seed, tmp_path):
    source, runs, errors = random.Random(seed), 0, 0
    for number in range(40):
        image = Path(shutil.copytree(source.choice(IMAGES), tmp_path / str(number), symlinks=True))
        file = source.choice(sorted((image / "tests").glob("*.yaml")))
        file.write_text(damaged(source, file.read_text()), newline="\n")
        tests = Folder(str(image / "tests"))
        try:
            cases = read_cases(tests)
        except TemplaterError as error:
            errors += 1
            assert error.span is not None
            assert error.span.place.startswith(str(file))
            assert error.explain()
            continue
        runs += 1
        with Session(str(image), tests, Given(), coverage=number % 5 == 0) as session:
            for outcome in session.run(cases):
                for failure in outcome.failures:
                    assert failure.message
                    assert failure.span.place.startswith(str(file.parent))
        assert not session.snapshots.changes
    assert runs > 3
    assert errors > 3
