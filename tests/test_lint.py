"""Formatting, lint and types are tests: lenient where a tool is missing, except in CI."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(tool: str, *arguments: str) -> None:
    if importlib.util.find_spec(tool) is None:
        assert not os.environ.get("CI"), f"{tool} is not installed"
        pytest.skip(f"{tool} is not installed")
    command = [sys.executable, "-m", tool, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_code_is_formatted():
    run("ruff", "format", "--check", ".")


def test_the_code_is_lint_free():
    run("ruff", "check", ".")


def test_the_types_hold():
    run("mypy", "--strict", "templater")
