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


def test_the_diff_option_prints_a_patch_below_the_summary_of_each_step(tmp_path, capsys):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/t").write_text("{{ instance.name }}\n")
    (tmp_path / "metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1\ntemplates: {/etc/a: {when: [create], template: t}}\n"
    )
    assert main(["simulate", str(tmp_path), "create", "start", "--diff"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:6] == [
        "start",
        "  c1: create then start: writes 1 file",
        "# /etc/a: 0:0 0644, t on create",
        "diff --git a/etc/a b/etc/a",
    ]
    assert lines[-1] == "+c1"
