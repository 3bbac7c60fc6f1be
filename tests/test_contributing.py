"""The recipes of docs/contributing.md work as written."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "contributing.md").read_text()
FILE = re.compile(r"^`([\w/.]+)`\n\n```(?:python|text)\n(.*?)^```$", re.M | re.S)
COMMAND = re.compile(r"^```sh\n(python -m pytest .*?)\n```$", re.M)
RECIPES = {
    heading: text
    for heading, text in re.findall(r"^## Add a (\w+)\n(.*?)(?=^## )", PAGE, re.M | re.S)
    if COMMAND.search(text)
}


def test_the_page_has_a_recipe_for_every_kind_of_plugin():
    assert set(RECIPES) == {"check", "filter", "tag", "command", "runtime"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clone")
    for name in ("templater", "tests", "sample-images", "docs"):
        shutil.copytree(
            ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", RECIPES)
def test_a_recipe_works_as_written(clone, kind):
    files = FILE.findall(RECIPES[kind])
    assert len(files) == 2
    for name, text in files:
        assert not (clone / name).exists(), f"{name} exists already: choose another example"
        (clone / name).write_text(text)
    command = COMMAND.search(RECIPES[kind])[1].replace("python", sys.executable, 1)
    environment = {**os.environ, "PYTHONPATH": str(clone), "PYTHONDONTWRITEBYTECODE": "1"}
    for line in (
        command + " -n 0 -p no:cacheprovider",
        *lint([name for name, _ in files if name.endswith("py")]),
    ):
        done = subprocess.run(
            ["bash", "-c", line], cwd=clone, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    for name, _ in files:
        (clone / name).unlink()


def lint(names):
    """The page's code follows the style of the project."""
    return [f"{sys.executable} -m ruff {words} {' '.join(names)}" for words in ("format --check", "check")]
