"""Format, lint, types and the CI configuration are tests. Without the tool they are skipped, except in CI."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_architecture import PURE

ROOT = Path(__file__).resolve().parent.parent
GITHUB = ROOT / ".github"


def run(tool: str, *arguments: str) -> None:
    if importlib.util.find_spec(tool) is None:
        assert not os.environ.get("CI"), f"{tool} is not installed"
        pytest.skip(f"{tool} is not installed")
    command = [sys.executable, "-m", tool, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_code_is_formatted():
    run("ruff", "format", "--check", ".")


def test_the_linter_finds_no_errors():
    run("ruff", "check", ".")


@pytest.mark.slow
def test_mypy_finds_no_errors():
    run("mypy", "--strict", "templater")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("vendor.github-workflows", "workflows/*.yml"),
        ("custom.github-workflows-require-timeout", "workflows/*.yml"),
        ("vendor.github-issue-forms", "ISSUE_TEMPLATE/[!c]*.yml"),
        ("vendor.github-issue-config", "ISSUE_TEMPLATE/config.yml"),
    ],
)
def test_the_github_configuration_is_valid(schema, pattern):
    files = [str(path) for path in GITHUB.glob(pattern)]
    assert files
    run("check_jsonschema", "--builtin-schema", schema, *files)


def test_every_pure_folder_is_tested_on_macos_and_windows():
    workflow = (GITHUB / "workflows" / "ci.yml").read_text()
    tested = set(re.findall(r"tests/unit/(\w+)", workflow))
    # simulation is pure as well, but its tests compare it with a directory on the disk
    assert tested == {folder for folder in PURE if (ROOT / "tests/unit" / folder).exists()} - {"simulation"}


def test_github_workflows_have_read_only_permission_and_pinned_actions():
    for path in GITHUB.glob("workflows/*.yml"):
        text = path.read_text()
        assert re.findall(r"^ *permissions:(.*(?:\n +.*)?)", text, re.MULTILINE) == ["\n  contents: read"]
        uses = re.findall(r"uses: *(\S+)", text)
        assert uses
        assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in uses)
