"""What the shared options make of what is typed."""

import click
import pytest

from templater.cli import main
from templater.cli.options import Description, device, key_value, split_triggers
from templater.errors import UsageError


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


def test_nothing_describes_a_container():
    instance = described().read()
    assert (instance.name, instance.type, instance.architecture) == ("c1", "container", "x86_64")


def test_keys_are_laid_over_a_file(tmp_path):
    (tmp_path / "web.yaml").write_text("name: web\nconfig: {user.a: file, user.b: file}\n")
    instance = described(file=str(tmp_path / "web.yaml"), config=("user.a=typed",), name="other").read()
    assert instance.name == "other"
    assert instance.expanded_config() == {"user.a": "typed", "user.b": "file"}


def test_a_value_may_come_from_a_file(tmp_path):
    (tmp_path / "data").write_text("one\ntwo\n")
    assert key_value(f"user.user-data=@{tmp_path}/data") == ("user.user-data", "one\ntwo\n")


def test_a_value_may_hold_an_equals_sign():
    assert key_value("user.a=b=c") == ("user.a", "b=c")


def test_a_device_is_typed_as_for_incus_launch():
    assert device("eth0,type=nic,ipv4.address=10.0.0.5") == (
        "eth0",
        {"type": "nic", "ipv4.address": "10.0.0.5"},
    )


@pytest.mark.parametrize("text", ["", "eth0", "type=nic", "eth0,type"])
def test_what_is_no_device_is_said(text):
    with pytest.raises(UsageError):
        device(text)


def test_triggers_may_be_repeated_or_separated_by_commas():
    assert split_triggers(("create,start", "rename")) == ("create", "start", "rename")


@pytest.mark.parametrize("values", [("",), (",",), ("create", ""), ("nosuch",)])
def test_a_trigger_that_is_none_is_a_usage_error(values):
    with pytest.raises(click.BadParameter, match="is not a trigger; there are create, "):
        split_triggers(values)


def test_no_option_is_no_trigger():
    assert split_triggers(()) == ()


@pytest.mark.parametrize(
    "command", [("preview", "x"), ("diff", "x", "y"), ("apply", "x", "y"), ("watch", "x")]
)
def test_an_empty_trigger_is_a_usage_error_of_every_command(command, capsys):
    assert main([*command, "-t", ""]) == 2
    assert "'' is not a trigger" in capsys.readouterr().err


def test_the_files_of_a_description_are_known_for_watching():
    files = described(file="fleet.json#web", profiles=("p.yaml",), config=("a=@data", "b=c")).files
    assert files == ("fleet.json", "p.yaml", "data")
