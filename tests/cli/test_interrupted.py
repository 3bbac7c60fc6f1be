"""Ctrl-C while the program is still importing modules."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
INTERRUPT = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"


def run(folder: Path, *arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    path = f"{folder}:{ROOT}"
    return subprocess.run(
        [sys.executable, "-m", "templater", *arguments],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, check=False, cwd=folder, **options,
    )  # fmt: skip


@pytest.mark.parametrize("module", ["click", "difflib"])
def test_an_early_interrupt_shows_no_traceback(module, tmp_path):
    """templater imports ``click`` before it knows the command. Only one command imports ``difflib``."""
    (tmp_path / f"{module}.py").write_text(INTERRUPT)
    done = run(tmp_path, "previev")
    assert done.stderr.strip() == ""
    assert done.returncode in (-2, 130)


def test_templater_ignores_an_interrupt_if_the_shell_ignores_it(tmp_path):
    """Shell scripts ignore interrupts in background jobs."""
    (tmp_path / "difflib.py").write_text(INTERRUPT + "get_close_matches = lambda *_, **__: []\n")
    command = f'trap "" INT; exec "{sys.executable}" -m templater previev'
    done = subprocess.run(
        ["sh", "-c", command],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert "unknown command 'previev'" in done.stderr
    assert done.returncode == 2


def test_console_script_and_python_module_share_an_entry_point():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["scripts"].values()) == {"templater.__main__:run"}
