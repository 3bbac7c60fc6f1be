"""The statements in `templater simulate --help` are true."""

import json
import shutil
from pathlib import Path

import pytest

from templater.cli.commands.simulate import HELP
from templater.cli.run_command_line import main

SAMPLES = Path(__file__).resolve().parent.parent.parent / "sample-images"
EXAMPLES = [line.split() for line in HELP.splitlines() if line.startswith("  templater simulate ")]


@pytest.mark.parametrize("example", EXAMPLES, ids=" ".join)
def test_the_examples_in_the_help_of_the_simulate_command_succeed(example, tmp_path, monkeypatch):
    shutil.copytree(SAMPLES / "alpine", tmp_path / "image", symlinks=True)
    monkeypatch.chdir(tmp_path)
    assert main(example[1:]) == 0


def test_a_step_without_name_applies_to_the_first_instance(capsys):
    steps = ["start", "copy=c2", "c2:start", "stop", "rename=c9", "start"]
    assert main(["simulate", str(SAMPLES / "alpine"), *steps]) == 0
    assert "rename=c9\n  c9: rename:" in capsys.readouterr().out


def test_the_diff_option_prints_a_patch_below_each_step(tmp_path, capsys):
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


@pytest.fixture
def image(tmp_path, monkeypatch):
    """An image whose file shows the name of the instance and one of its keys."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image/templates").mkdir(parents=True)
    (tmp_path / "image/rootfs").mkdir()
    (tmp_path / "image/templates/t").write_text(
        "{{ instance.name }} {{ config_get('user.a', '-') }} {{ devices.eth0.mtu }}\n"
    )
    (tmp_path / "image/metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1\n"
        "templates: {/a: {when: [create, copy, start], template: t}}\n"
    )
    return "image"


def simulated(run, *words):
    """Return the triggers of each start, and the text that it writes to /a, or None."""
    code, out, err = run("simulate", *words, "--json")
    assert code == 0, err
    found = [
        (step["triggers"], [change["content"] for change in step["changes"]]) for step in json.loads(out)
    ]
    return [(triggers, (contents or [None])[-1]) for triggers, contents in found if triggers]


def test_a_step_can_read_a_value_from_a_file(image, run):
    Path("value").write_text("from the file")
    steps = ("create", "c:user.a=@value", "start", "c:user.a=text", "restart")
    assert simulated(run, image, *steps) == [
        (["create", "start"], "c1 from the file \n"), (["start"], "c1 text \n"),
    ]  # fmt: skip
    code, _, err = run("simulate", image, "c:user.a=@nosuch", "start")
    assert (code, err.splitlines()[-1]) == (2, "templater: can't read 'nosuch': no such file or directory")


def test_steps_on_the_command_line_add_and_remove_profiles_and_devices(image, run):
    Path("a.yaml").write_text(
        "name: first\nconfig: {user.a: one}\ndevices: {eth0: {type: nic, mtu: '1400'}}\n"
    )
    Path("b.yaml").write_text("config: {user.a: two}\n")
    steps = (
        "p:a.yaml", "start", "p:b.yaml", "restart", "d:eth0,mtu=1500", "restart", "p:b=", "d:eth0=", "restart",
        "p:first=", "restart",
    )  # fmt: skip
    assert [text for _, text in simulated(run, image, *steps)] == [
        "c1 one 1400\n", "c1 two 1400\n", "c1 two 1500\n", "c1 one 1400\n", "c1 - \n",
    ]  # fmt: skip
    code, out, _ = run("simulate", image, "start", "p:nosuch=")
    assert code == 2 and "'c1' has no profile 'nosuch'" in out


@pytest.mark.parametrize(
    ("state", "triggers"),
    [
        ("name=web9\npending=copy\n", ["copy", "start"]),
        ("name=web9\n", ["start"]),
        (None, ["create", "start"]),
    ],
)
def test_a_simulation_of_an_instance_directory_reads_its_description(state, triggers, image, run):
    shutil.copytree(image, "web9")
    Path("web9/instance.yaml").write_text("name: web9\nconfig: {user.a: described}\n")
    if state is not None:
        Path("web9/.templater").mkdir(mode=0o700)
        Path("web9/.templater/state").write_text(state)
    assert simulated(run, "web9", "start") == [(triggers, "web9 described \n")]
    err = run("simulate", "web9", "start")[2]
    assert "note: using the instance from 'web9/instance.yaml'\n" in err
    assert "note: the simulation begins with 'web9' as it is now: the next start, with " in err
