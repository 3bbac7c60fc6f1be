"""Configuration keys that an image gives a new instance, in every command that renders for a first start.

The precedence was recorded on Incus 6.0.4: incus_cases_2, n10 (create), n61 (a key set or removed
afterwards).
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from templater.model.source import Source
from templater.parsing.instance_description import read_instance

TEMPLATE = "{{ config_get('image.os', 'none') }} {{ config_get('volatile.uuid', 'none') }}\n"
EXISTING = {"name": "web1", "status": "Stopped", "devices": {}, "config": {"image.release": "old"}}


@pytest.fixture
def image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, system in (("image", "tiny"), ("other", "huge")):
        folder = tmp_path / name
        (folder / "templates").mkdir(parents=True)
        (folder / "rootfs/etc").mkdir(parents=True)
        (folder / "templates/k.tpl").write_text(TEMPLATE)
        (folder / "metadata.yaml").write_text(
            "architecture: x86_64\ncreation_date: 1\n"
            f"properties: {{os: {system}}}\n"
            "templates: {/etc/k: {when: [create, copy, start], template: k.tpl}}\n"
        )
    (tmp_path / "web1.json").write_text(json.dumps(EXISTING))
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    return folder.parent / "image"


PLACEHOLDER_NOTE = "note: '<set at create>' stands for a value that the daemon generates"


@pytest.mark.parametrize("words", [("preview", "image"), ("diff", "image", "rootfs")])
def test_image_properties_override_image_keys_of_the_user(words, image, run):
    code, out, err = run(*words, "-c", "image.os=mine")
    assert code == 0
    assert "tiny <set at create>" in out and "mine" not in out
    assert PLACEHOLDER_NOTE in err


@pytest.mark.parametrize("words", [("preview", "image"), ("diff", "image", "rootfs")])
def test_an_existing_instance_has_only_the_keys_of_its_description(words, image, run):
    code, out, err = run(*words, "-i", "web1.json")
    assert code == 0
    assert "none none" in out and PLACEHOLDER_NOTE not in err
    assert "mine none" in run(*words, "-i", "web1.json", "-c", "image.os=mine")[1]


@pytest.mark.parametrize("words", [("preview", "image"), ("diff", "image", "rootfs")])
def test_as_option_with_value_none_generates_no_daemon_keys(words, image, run):
    code, out, err = run(*words, "--as", "none")
    assert code == 0
    assert "tiny none" in out and PLACEHOLDER_NOTE not in err


@pytest.mark.slow
def test_the_watch_command_shows_the_keys_of_the_image(image):
    watching = subprocess.Popen(
        [sys.executable, "-m", "templater", "watch", "image", "-c", "image.os=mine"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert watching.stdout is not None
    said = b""
    ends = time.monotonic() + 30
    while PLACEHOLDER_NOTE.encode() not in said or b"tiny <set at create>" not in said:
        assert time.monotonic() < ends, said
        said += os.read(watching.stdout.fileno(), 1 << 16)
        if watching.poll() is not None:
            break
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=30)
    assert b"tiny <set at create>" in said and b"mine" not in said
    assert b"==> /etc/k  " in said, "without ROOTFS, watch shows a preview and no patch"


def steps(run, *words):
    """Return the text that each start writes to /etc/k."""
    code, out, err = run("simulate", *words, "--json")
    assert code == 0, err
    found = [
        [change["content"] for change in report["changes"] if change["path"] == "/etc/k"][-1:]
        for report in json.loads(out)
        if report["triggers"]
    ]
    return [content[0].split(" ", 1)[0] if content else "" for content in found]


def test_simulated_instances_have_image_keys_until_they_are_changed(image, run):
    assert steps(run, "image", "-c", "image.os=mine", "create", "start") == ["tiny"]
    assert steps(run, "image", "create", "c:image.os=mine", "start") == ["mine"]
    assert steps(run, "image", "create", "c:image.os=", "start", "restart") == ["none", ""]
    assert steps(run, "image", "create", "c:image.os=mine", "copy=c2", "c2:start") == ["mine"]


def test_a_rebuild_sets_the_keys_of_the_image_again(image, run):
    life = ("create", "c:image.os=mine", "start", "stop")
    assert steps(run, "image", *life, "rebuild", "start") == ["mine", "tiny"]
    assert steps(run, "image", *life, "rebuild=other", "start") == ["mine", "huge"]


def test_simulation_of_an_existing_instance_adds_no_image_keys(image, run):
    assert steps(run, "image", "-i", "web1.json", "start") == ["none"]


def test_the_simulate_command_shows_a_placeholder_for_each_generated_value(image, run):
    life = ("create", "start", "stop", "rename=c2", "start", "copy=c3", "c3:start")
    code, out, err = run("simulate", "image", *life, "--diff")
    assert code == 0, err
    assert "+tiny <set at create>\n" in out
    # a rename keeps it, a copy gets another
    assert out.count("+tiny <set at create>\n") == 1
    assert "+tiny <set at create of c3>\n" in out
    assert "! '<set at create…>' stands for a value that the daemon generates" in out


def test_a_simulation_of_an_existing_instance_shows_no_generated_keys(image, run):
    code, out, _ = run("simulate", "image", "-i", "web1.json", "start", "--diff")
    assert code == 0
    assert "+none none\n" in out


@pytest.mark.skipif(os.geteuid() != 0, reason="unpacks files of other owners")
def test_the_unpack_command_sets_the_keys_of_the_image(image, run):
    code, _, err = run("unpack", "image", "made", "--name", "web1", "-c", "image.os=mine", "-c", "user.a=b")
    assert code == 0, err
    assert Path("made/instance.yaml").read_text().split("config:\n")[1] == (
        "  image.os: tiny\n  user.a: b\ndevices: {}\n"
    )
    assert os.stat("made/instance.yaml").st_mode & 0o777 == 0o600  # cloud-init keys contain passwords


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="unpacks files of other owners")
@pytest.mark.parametrize(
    "text", ["De\x85bian", "\x85", "a\u2028b\u2029", "\ufeffa", "é\x85", "a\n\x85\n", "x \r\n é"]
)
def test_the_unpack_command_keeps_every_character_of_a_property(text, image, run):
    metadata = image / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("tiny", json.dumps(text)))
    code, _, err = run("unpack", "image", "made", "-c", f"user.a={text}", "-c", f"user.{text}=b")
    assert code == 0, err
    found = read_instance(Source("instance.yaml", Path("made/instance.yaml").read_bytes()))
    assert found.config == {"image.os": text, "user.a": text, f"user.{text}": "b"}


def test_the_unpack_command_refuses_values_with_invalid_utf_8(image, run):
    code, _, err = run("unpack", "image", "made", "-c", "user.a=a\udcffb")
    assert (code, err.splitlines()[-1]) == (2, "templater: config: 'user.a' is not valid UTF-8")
    code, _, err = run("unpack", "image", "made", "-d", "eth0,type=a\udcffb")
    assert (code, err.splitlines()[-1]) == (2, "templater: eth0: 'type' is not valid UTF-8")
    assert not Path("made").exists()


@pytest.mark.slow
def test_the_unpack_command_refuses_properties_too_large_for_instance_yaml(image, run):
    metadata = image / "metadata.yaml"
    aliases = "".join(f", k{number}: *a" for number in range(400))
    metadata.write_text(metadata.read_text().replace("tiny", f"&a {'x' * 15_000}{aliases}"))
    code, _, err = run("unpack", "image", "made")
    assert code == 4
    assert "the configuration of the instance takes more than 4194304 bytes" in err
    assert not Path("made").exists()


def test_every_host_gives_image_keys_only_to_new_instances(image, run):
    (image / "templates/k.tpl").write_text(
        "{% if config_get('image.os', 'none') != 'tiny' %}{{ config_get() }}{% endif %}\n"
    )
    assert run("preview", "image", "-c", "image.os=mine", "--as", "all")[0] == 0
    assert run("preview", "image", "-i", "web1.json", "--as", "all")[0] == 5
    assert run("preview", "image", "--as", "all", "-t", "start")[0] == 5


def test_instance_creation_keeps_a_pending_trigger_that_the_user_has_set(image, run):
    """Observed on Incus 6.0.4: `incus create -c volatile.apply_template=copy`."""
    given = ("-c", "volatile.apply_template=copy")
    _, out, err = run("preview", "image", *given, "--json")
    assert json.loads(out)["triggers"] == ["copy", "start"]
    assert "'copy' is pending in the description" in err
    _, out, _ = run("diff", "image", "rootfs", *given, "--json")
    assert json.loads(out)["triggers"] == ["copy", "start"]
    _, out, _ = run("simulate", "image", *given, "create", "start", "--json")
    assert [report["triggers"] for report in json.loads(out)] == [[], ["copy", "start"]]
    code, _, err = run("unpack", "image", "made", "--name", "web1", *given)
    assert code == 0, err
    assert Path("made/.templater/state").read_text().startswith("pending=copy\n")
    assert "apply_template" not in Path("made/instance.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "noted"),
    [
        (["--as", "incus-debian"], False),
        (["--as", "lxd-debian"], False),
        (["--as", "none"], False),
        (["--as", "incus"], True),
        (["--as", "incus", "--vm"], True),
        (["--as", "incus-debian", "--vm"], False),
        (["--as", "lxd-debian", "--vm"], False),
        (["--as", "incus", "-t", "start"], False),
    ],
)
def test_a_preview_warns_if_start_rules_might_miss_triggers(words, noted, image, run):
    """On incus-debian and lxd-debian, the start pass still sees the key.

    For containers, this is recorded in incus_cases_2, n59 and in lxd_cases, 209, and for virtual machines in
    live/test_virtual_machines.py.
    """
    text = (image / "metadata.yaml").read_text()
    (image / "metadata.yaml").write_text(text.replace("when: [create, copy, start]", "when: [start]"))
    (image / "templates/k.tpl").write_text("{{ config_get('volatile.apply_template', 'gone') }}\n")
    code, out, err = run("preview", "image", *words)
    assert code == 0, err
    assert ("volatile.apply_template stays set in the start pass" in err) is noted
    if "-t" not in words:
        assert "create\n" in out and "gone" not in out
    (image / "templates/k.tpl").write_text(
        "{% for k in config %}{% if 'user.' in k %}{{ k }}{% endif %}{% endfor %}"
    )
    assert "unknown for" not in run("preview", "image", *words)[2], "the key makes no difference"


def test_a_simulation_warns_if_start_rules_might_miss_triggers(image, run):
    (image / "templates/k.tpl").write_text("{% for k in config sorted %}{{ k }} {% endfor %}\n")
    assert "volatile.apply_template stays set" in run("simulate", "image", "create", "start")[1]
    assert (
        "volatile.apply_template stays set"
        not in run("simulate", "image", "create", "start", "--as", "lxd-debian")[1]
    )
