"""Parsing of the options shared by several commands."""

from pathlib import Path

import click
import pytest

from templater.cli.options import Description, device_overrides, key_value, split_triggers
from templater.cli.run_command_line import main
from templater.model.errors import RefusedError, UsageError
from templater.sources.open_source import open_source


def described(**given):
    blank = {
        "file": None,
        "name": None,
        "type": None,
        "profiles": (),
        "config": (),
        "devices": (),
        "expanded": None,
    }
    return Description(**(blank | given))


def test_the_default_instance_is_a_container():
    instance = described().read()
    assert (instance.name, instance.type, instance.architecture) == ("c1", "container", "x86_64")


@pytest.fixture
def directory(tmp_path):
    """Return an instance directory whose instance was renamed after unpacking."""
    (tmp_path / ".templater").mkdir(mode=0o700)
    (tmp_path / ".templater" / "state").write_text("name=s2\n")
    (tmp_path / "instance.yaml").write_text("name: s1\nconfig: {user.a: kept}\n")
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1700000000\n")
    return tmp_path


def test_the_instance_description_in_an_instance_directory_is_used(directory):
    instance = described(config=("user.b=typed",)).read(open_source(directory))
    assert instance.name == "s2"
    assert instance.expanded_config() == {"user.a": "kept", "user.b": "typed"}
    assert instance.notes == (f"using the instance from '{directory}/instance.yaml'",)


def test_a_preview_of_an_instance_directory_writes_nothing(directory):
    (directory / ".templater" / "state").unlink()
    (directory / ".templater").rmdir()
    assert described().read(open_source(directory)).name == "s1"
    assert sorted(path.name for path in directory.iterdir()) == ["instance.yaml", "metadata.yaml"]


def test_an_instance_option_replaces_the_description_in_an_instance_directory(directory):
    assert described(name="other").read(open_source(directory)).expanded_config() == {}
    (directory / "web.yaml").write_text("name: web\n")
    web = described(file=str(directory / "web.yaml")).read(open_source(directory))
    assert (web.name, web.notes) == ("web", ())


def test_a_link_in_place_of_an_instance_description_is_not_followed(directory):
    (directory / "other.yaml").write_text("name: other\n")
    (directory / "instance.yaml").unlink()
    (directory / "instance.yaml").symlink_to(directory / "other.yaml")
    with pytest.raises(RefusedError):
        described().read(open_source(directory))


@pytest.mark.parametrize("kind", ["container", "virtual-machine"])
def test_a_note_describes_the_assumed_instance_if_none_is_given(kind, tmp_path):
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1700000000\n")
    image = open_source(tmp_path)
    assert described(type=kind).read(image).notes == (f"assuming a new {kind} 'c1' (see -i and --name)",)
    assert described(name="c1").read(image).notes == ()


def test_key_options_override_a_description_file(tmp_path):
    (tmp_path / "web.yaml").write_text("name: web\nconfig: {user.a: file, user.b: file}\n")
    instance = described(file=str(tmp_path / "web.yaml"), config=("user.a=typed",), name="other").read()
    assert instance.name == "other"
    assert instance.expanded_config() == {"user.a": "typed", "user.b": "file"}


def test_the_value_of_a_key_option_can_come_from_a_file(tmp_path):
    (tmp_path / "data").write_text("one\ntwo\n")
    assert key_value(f"user.user-data=@{tmp_path}/data") == ("user.user-data", "one\ntwo\n")


def test_the_value_of_a_key_option_can_contain_an_equals_sign():
    assert key_value("user.a=b=c") == ("user.a", "b=c")


def test_several_device_options_are_merged():
    texts = "eth0,type=nic", "root,size=5GiB", "eth0,ipv4.address=10.0.0.5"
    expected = {"eth0": {"type": "nic", "ipv4.address": "10.0.0.5"}, "root": {"size": "5GiB"}}
    assert device_overrides(texts) == (expected, ())


def test_a_device_value_may_contain_commas():
    text = "eth0,ipv4.routes=10.0.0.0/24,10.0.1.0/24"
    assert device_overrides((text,)) == ({"eth0": {"ipv4.routes": "10.0.0.0/24,10.0.1.0/24"}}, ())


def test_a_note_mentions_a_second_key_inside_a_device_value():
    devices, (note,) = device_overrides(("eth0,type=nic,ipv4.address=10.0.0.5",))
    assert devices == {"eth0": {"type": "nic,ipv4.address=10.0.0.5"}}
    assert "to set 'ipv4.address' too, add -d eth0,ipv4.address=" in note
    assert described(devices=("eth0,type=nic,network=br0",)).read().notes != ()


@pytest.mark.parametrize("text", ["", "eth0", "type=nic", "eth0,type"])
def test_an_invalid_device_is_a_usage_error(text):
    with pytest.raises(UsageError) as refused:
        device_overrides((text,))
    assert refused.value.hint.startswith("for example: -d eth0,")


def test_trigger_options_can_be_repeated_or_contain_a_list():
    assert split_triggers(("create,start", "rename")) == ("create", "start", "rename")


@pytest.mark.parametrize("values", [("",), (",",), ("create", ""), ("nosuch",)])
def test_an_unknown_trigger_is_a_usage_error(values):
    with pytest.raises(click.BadParameter, match=r"unknown trigger '.*'; known triggers: create, "):
        split_triggers(values)


@pytest.mark.parametrize("values", [("all", "start"), ("create,next",)])
def test_a_special_trigger_value_cannot_be_combined_with_other_triggers(values):
    assert split_triggers(values[0].split(",")[-1:], ("all", "next", "start"))
    with pytest.raises(click.BadParameter, match="can't be combined with other triggers"):
        split_triggers(values, ("all", "next"))


def test_the_list_of_triggers_is_empty_without_trigger_options():
    assert split_triggers(()) == ()


@pytest.mark.parametrize(
    "command", [("preview", "x"), ("diff", "x", "y"), ("apply", "x", "y"), ("watch", "x")]
)
def test_an_empty_trigger_gives_a_usage_error_in_every_command(command, capsys):
    assert main([*command, "-t", ""]) == 2
    assert "unknown trigger ''" in capsys.readouterr().err


def test_the_description_files_of_an_instance_are_watched():
    files = described(file="fleet.json#web", profiles=("p.yaml",), config=("a=@data", "b=c")).files
    assert files == ("fleet.json", "p.yaml", "data")


def test_the_as_option_selects_the_host_and_has_a_hidden_alias(capfd):
    image = str(Path(__file__).resolve().parents[2] / "sample-images/permissions")
    outputs = []
    for option in ("--as", "--host"):
        main(["preview", image, "-t", "create", option, "lxd-6.7"])
        outputs.append(capfd.readouterr().out)
    assert outputs[0] == outputs[1]
    assert "lxd-6.7:" in outputs[0]
    assert main(["preview", image, "--host", "docker"]) == 2
    assert "'--as': 'docker'" in capfd.readouterr().err
    main(["preview", "--help"])
    help_text = capfd.readouterr().out
    assert "--as HOST" in help_text
    assert "--host" not in help_text
