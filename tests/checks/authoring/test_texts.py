"""The mistakes in texts of every checked format. `pytest --update` writes mistakes into texts.txt; review them.

A line of texts.txt is a check, a text as JSON, or a mistake in the text above.
"""

import json
from importlib import import_module
from pathlib import Path

from templater.checks.rendered_files import File
from templater.model.hosts import NONE
from templater.model.instance import Instance
from templater.model.metadata import Rule

TEXTS = Path(__file__).parent / "texts.txt"


def mistakes(check: str, text: str) -> list[str]:
    name, _, kind = check.partition(" ")
    file = File(Rule("/etc/a", "t"), "create", NONE, Instance(), text, None)
    find = import_module(f"templater.checks.authoring.{name}").find
    found = find(file, kind) if kind else find(file)
    return [f"  {line}: {': '.join(reversed(words))}" for line, *words in found]


def test_each_sample_text_has_exactly_its_recorded_mistakes(update):
    check, found = "", []
    for line in TEXTS.read_text().splitlines():
        if line.startswith('"'):
            found += [line, *mistakes(check, json.loads(line))]
        elif not line.startswith("  "):
            check = line
            found.append(line)
    if update:
        TEXTS.write_text("\n".join(found) + "\n")
    assert found == TEXTS.read_text().splitlines()
