"""What the shared options make of what is typed."""

from pathlib import Path

import click
import pytest

from templater.cli import main
from templater.cli.options import Description, device, key_value, split_triggers
from templater.model.errors import RefusedError, UsageError


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


@pytest.fixture
def directory(tmp_path):
    """An instance directory, the instance renamed since it was unpacked."""
    (tmp_path / ".templater").mkdir(mode=0o700)
    (tmp_path / ".templater" / "state").write_text("name=s2\n")
    (tmp_path / "instance.yaml").write_text("name: s1\nconfig: {user.a: kept}\n")
    return tmp_path


def test_an_instance_directory_has_its_own_instance(directory):
    instance = described(config=("user.b=typed",)).read(str(directory))
    assert instance.name == "s2"
    assert instance.expanded_config() == {"user.a": "kept", "user.b": "typed"}
    assert instance.notes == (f"the instance is the one of '{directory}/instance.yaml' (see -i and --name)",)


def test_looking_at_an_instance_directory_leaves_nothing_there(directory):
    (directory / ".templater" / "state").unlink()
    (directory / ".templater").rmdir()
    assert described().read(str(directory)).name == "s1"
    assert sorted(path.name for path in directory.iterdir()) == ["instance.yaml"]


def test_another_instance_may_be_named_for_an_instance_directory(directory, tmp_path):
    assert described(name="other").read(str(directory)).expanded_config() == {}
    (tmp_path / "web.yaml").write_text("name: web\n")
    web = described(file=str(tmp_path / "web.yaml")).read(str(directory))
    assert (web.name, web.notes) == ("web", ())


def test_a_link_in_an_instance_directory_is_not_followed(directory, tmp_path):
    (tmp_path / "other.yaml").write_text("name: other\n")
    (directory / "instance.yaml").unlink()
    (directory / "instance.yaml").symlink_to(tmp_path / "other.yaml")
    with pytest.raises(RefusedError):
        described().read(str(directory))


@pytest.mark.parametrize("kind", ["container", "virtual-machine"])
def test_an_instance_that_nobody_named_is_said(kind, tmp_path):
    assert described(type=kind).read(str(tmp_path)).notes == (
        f"no instance is named: a {kind} 'c1' is assumed (see -i and --name)",
    )
    assert described(name="c1").read(str(tmp_path)).notes == ()


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


def test_what_is_wrong_of_a_device_gets_a_device_as_example():
    with pytest.raises(UsageError) as refused:
        device("eth0,hwaddr")
    assert refused.value.hint.startswith("for example: -d eth0,")


def test_as_names_the_host_and_host_is_a_hidden_alias(capfd):
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
