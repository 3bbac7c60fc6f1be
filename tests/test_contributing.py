"""The recipes of docs/contributing.md work as written."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "contributing.md").read_text()
FILE = re.compile(r"^`([\w/.]+)`\n\n```(?:python|text)\n(.*?)^```$", re.M | re.S)
#: a block of commands that runs tests, with one command per line
COMMANDS = re.compile(r"^```sh\n((?:(?:ruff format && ruff check|.*python -m pytest .*)\n)+)```$", re.M)
ROW = re.search(r"^```text\n(\(.*\),)\n```$", PAGE, re.M)[1]
RECIPES = {
    heading: text
    for heading, text in re.findall(r"^## Add a ([\w ]+)\n(.*?)(?=^## )", PAGE, re.M | re.S)
    if COMMANDS.search(text)
}
#: the edits that a recipe asks for in words: (file, text before, text after)
EDITS = {
    "check": [("tests/checks/authoring/test_mistakes.py", "CASES = [\n", f"CASES = [\n    {ROW}\n")],
    "filter": [
        (
            "templater/pongo2/filters_and_tags.py",
            '("text", (',
            '("shouting", ("shout",)),\n        ("text", (',
        ),
        ("tests/unit/pongo2/test_filters_and_tags.py", " safe slice ", " safe shout slice "),
    ],
    "tag": [("tests/unit/pongo2/test_filters_and_tags.py", " set spaceless ", " set shout spaceless ")],
}


def test_the_contributing_page_has_a_recipe_for_every_kind_of_plugin():
    assert set(RECIPES) == {"check", "security check", "filter", "tag", "command", "runtime"}


def test_the_layout_in_the_contributing_page_lists_every_folder_and_module():
    layout = re.search(r"^templater/\n(.*?)^tests/\n", PAGE, re.M | re.S)[1]
    listed = re.findall(r"(?:^|\s{2,})([\w.]+(?:/|\.py))(?=\s)", layout)
    found = [f"{path.name}/" if path.is_dir() else path.name for path in (ROOT / "templater").iterdir()]
    assert sorted(listed) == sorted(name for name in found if name[0] != "_" and name != "py.typed")


@pytest.mark.parametrize("kind", RECIPES)
def test_the_imports_in_a_contributing_recipe_exist(kind, monkeypatch):
    """This includes imports for type checkers. The recipe's test may import the recipe's module."""
    for name, text in FILE.findall(RECIPES[kind]):
        if not name.endswith(".py"):
            continue
        module = ModuleType(name.removesuffix(".py").replace("/", "."))
        module.__package__ = module.__name__.rpartition(".")[0]
        code = text.replace("TYPE_CHECKING = False", "TYPE_CHECKING = True")
        exec(compile(code, name, "exec"), vars(module))
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clone")
    for name in ("templater", "tests", "sample-images", "docs"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True)
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", RECIPES)
def test_each_contributing_recipe_works_as_written(clone, kind, tmp_path):
    files = FILE.findall(RECIPES[kind])
    assert len(files) == (1 if kind == "check" else 2)
    for name, text in files:
        assert not (clone / name).exists(), f"{name} exists already: choose another example"
        (clone / name).write_text(text)
    before = {name: (clone / name).read_text() for name, _, _ in EDITS.get(kind, [])}
    for name, old, new in EDITS.get(kind, []):
        assert f"`{name}`" in RECIPES[kind]
        assert before[name].count(old) == 1
        (clone / name).write_text(before[name].replace(old, new))
    environment = {**os.environ, "PYTHONPATH": str(clone)}
    environment.pop("CI", None)  # the clone has no corpus beside it, so its tests are skipped
    for line in (
        *(adapt(line, tmp_path) for block in COMMANDS.findall(RECIPES[kind]) for line in block.splitlines()),
        *lint([*before, *(name for name, _ in files if name.endswith("py"))]),
    ):
        done = subprocess.run(
            ["bash", "-c", line], cwd=clone, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    for name, _ in files:
        (clone / name).unlink()
    for name, text in before.items():
        (clone / name).write_text(text)


def adapt(line, tmp_path):
    """Return a command of a recipe that uses this Python and, for pytest, options for a test in a test."""
    line = re.sub(r"\bruff (?=format|check)", f"{sys.executable} -m ruff ", line)
    # two runs at once fail now and then when they remove old temporary directories of the same user
    options = f" -n 0 -p no:cacheprovider --basetemp={tmp_path}/pytest" if "pytest" in line else ""
    return re.sub(r"\bpython (?=-m pytest)", f"{sys.executable} ", line) + options


def lint(names):
    """The page's code follows the style of the project."""
    return [f"{sys.executable} -m ruff {words} {' '.join(names)}" for words in ("format --check", "check")]
