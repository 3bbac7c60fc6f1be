"""docs/templates.md shows what pongo2 gave, for every tag and filter. test_vectors runs the same templates."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from templater import pongo2
from templater.pongo2.dialect import DIALECTS
from templater.pongo2.filters_and_tags import library_for

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "templates.md").read_text("utf-8")
VECTORS = {
    vector["template"]: vector
    for vector in map(json.loads, (ROOT / "tests/vectors/found/page.jsonl").read_text("utf-8").splitlines())
}
CELL = r"`((?:[^`\\]|\\.)*)`"
ROW = re.compile(rf"^\| (?:`[^`]+` \| )?{CELL} \| (.*) \|$", re.MULTILINE)
ROWS = [
    (row[1].replace("\\|", "|").replace("⏎", "\n"), row[2].replace("\\|", "|")) for row in ROW.finditer(PAGE)
]
EXAMPLES = [row for row in ROWS if "{" in row[0]]


def shown(result):
    if "output" in result:
        return f"`{result['output']}`".replace("\n", "⏎") if result["output"] else "(nothing)"
    return f"error: `{result['error'].rsplit('] ', 1)[-1]}`".replace("\n", "⏎")


def test_the_templates_page_contains_every_recorded_example():
    assert {template for template, _ in EXAMPLES} == set(VECTORS)


@pytest.mark.parametrize(("template", "result"), EXAMPLES)
def test_an_example_on_the_templates_page_shows_the_recorded_result(template, result):
    v6, v4 = (shown(VECTORS[template][version]) for version in ("v6", "v4"))
    assert result == (v6 if v6 == v4 else f"{v6}; v4: {v4}")


@pytest.mark.parametrize("name", list(DIALECTS))
def test_the_templates_page_describes_every_tag_and_filter(name):
    library = library_for(DIALECTS[name])
    described = set(re.findall(r"^\| `([a-z0-9_]+)", PAGE, re.MULTILINE))
    missing = {*library.tags, *library.filters} - described
    assert not missing, "docs/templates.md has no row for them"


QUOTED, IN_SHELL = (next(row[0] for row in EXAMPLES if text in row[0]) for text in ("it's: a", "it's $HOME"))
VALUES = [
    "",
    'it\'s: a "b" #c, {d}',
    "C:\\new",
    "two\nlines\n",
    "é😀\u200b",
    "- *x",
    "$(id) `id` !",
    "\t%q {{ x }}",
]


@pytest.mark.parametrize("dialect", list(DIALECTS))
@pytest.mark.parametrize("value", VALUES)
def test_the_quoting_recipes_on_the_templates_page_write_every_value_unchanged(value, dialect):
    def rendered(example: str) -> str:
        template = re.sub(r"\{\{ .*?\|", "{{ value|", example, count=1)
        return pongo2.compile(template, DIALECTS[dialect]).render({"value": value})

    text = rendered(QUOTED)
    assert yaml.safe_load(text) == {"note": value}
    quoted = text.removeprefix("note: ")
    assert json.loads(quoted) == value
    assert tomllib.loads(f"note = {quoted}") == {"note": value}
    script = rendered(IN_SHELL) + '\nprintf "%s" "$NOTE"'
    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout == value
