"""The statements in `templater simulate --help` are true."""

import shutil
from pathlib import Path

import pytest

from templater.cli.commands.simulate import HELP
from templater.cli.main import main

SAMPLES = Path(__file__).resolve().parent.parent.parent / "sample-images"
EXAMPLES = [line.split() for line in HELP.splitlines() if line.startswith("  templater simulate ")]


@pytest.mark.parametrize("example", EXAMPLES, ids=" ".join)
def test_the_examples_in_the_help_of_simulate_succeed(example, tmp_path, monkeypatch):
    shutil.copytree(SAMPLES / "alpine", tmp_path / "image", symlinks=True)
    monkeypatch.chdir(tmp_path)
    assert main(example[1:]) == 0


def test_a_simulation_step_without_an_instance_name_applies_to_the_first_instance(capsys):
    steps = ["start", "copy=c2", "c2:start", "stop", "rename=c9", "start"]
    assert main(["simulate", str(SAMPLES / "alpine"), *steps]) == 0
    assert "rename=c9\n  c9: rename:" in capsys.readouterr().out
