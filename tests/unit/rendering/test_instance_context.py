"""The variables that a template sees."""

import pytest

from templater.model.hosts import HOSTS, INCUS
from templater.model.instance import VIRTUAL_MACHINE, Instance, Profile
from templater.model.metadata import Rule
from templater.model.render_options import RenderOptions
from templater.pongo2.daemon_context import start_order
from templater.pongo2.values import NamedString
from templater.rendering.instance_context import context_for
from templater.rendering.render import render_data

RULE = Rule("etc//hosts", "hosts.tpl", properties={"default": "x"})


def context(**facts):
    return context_for(Instance(**facts), RULE, "start", INCUS)


def test_the_template_context_has_the_same_variables_as_in_the_daemons():
    assert sorted(context()) == [
        "config", "config_get", "container", "devices", "instance", "path", "properties", "trigger",
    ]  # fmt: skip


def test_the_variables_instance_and_container_are_the_same_map_of_strings():
    seen = context(name="web1", architecture="aarch64", ephemeral=True)
    assert seen["instance"] is seen["container"]
    assert seen["instance"] == {
        "name": "web1",
        "type": "container",
        "architecture": "aarch64",
        "ephemeral": "true",
        "privileged": "false",
    }


def test_a_virtual_machine_has_no_variable_named_privileged():
    assert "privileged" not in context(type=VIRTUAL_MACHINE)["instance"]


@pytest.mark.parametrize(
    ("value", "seen"), [("true", "true"), ("1", "true"), ("Yes", "true"), ("false", "false"), ("", "false")]
)
def test_the_privileged_variable_comes_from_the_expanded_configuration(value, seen):
    profile = Profile("p", {"security.privileged": value})
    assert context(profiles=(profile,))["instance"]["privileged"] == seen


def test_the_configuration_merges_profile_keys_and_local_keys():
    profile = Profile("p", {"a": "p", "b": "p"}, {"eth0": {"type": "nic", "x": "1"}, "eth1": {"type": "nic"}})
    seen = context(profiles=(profile,), config={"b": "own"}, devices={"eth0": {"type": "none"}})
    assert seen["config"] == {"a": "p", "b": "own"}
    assert seen["devices"] == {"eth0": {"type": "none"}, "eth1": {"type": "nic"}}


def test_the_path_variable_equals_the_path_in_the_rule():
    assert context()["path"] == "etc//hosts"
    assert context()["properties"] == {"default": "x"}


def test_the_trigger_variable_has_the_named_string_type_of_the_daemon():
    trigger = context()["trigger"]
    assert isinstance(trigger, NamedString)
    assert trigger.gotype == "instance.TemplateTrigger"


@pytest.mark.parametrize(
    ("key", "seen"), [("a", "v"), ("lines", "one\ntwo"), ("empty", ""), ("blank", " \t"), ("none", "default")]
)
def test_the_config_get_function_strips_final_line_ends(key, seen):
    config = {"a": "v\r\n\n", "lines": "one\ntwo\n", "empty": "", "blank": " \t"}
    assert context(config=config)["config_get"].call(key, "default") == seen


def test_the_config_get_function_returns_the_default_unchanged():
    default = object()
    assert context()["config_get"].call("x", default) is default


def test_the_config_get_function_requires_exactly_two_arguments():
    assert len(context()["config_get"].params) == 2


def test_network_interfaces_come_first_then_disks_then_other_devices():
    devices = {
        "a": {"type": "unix-char"},
        "b": {"type": "proxy"},
        "d2": {"type": "disk", "path": "/b"},
        "d1": {"type": "disk", "path": "/c"},
        "root": {"type": "disk", "path": "/"},
        "eth1": {"type": "nic"},
        "eth0": {"type": "nic"},
    }
    assert start_order(devices) == ["eth0", "eth1", "root", "d2", "d1", "a", "b"]
    listed = context(devices=devices)["devices"]
    named = listed.methods["Sorted"](listed).call()
    assert [item.get("Name") for item in named] == start_order(devices)


NESTED = {"a0": {"type": "nic", "nested": "eth0"}, "eth0": {"type": "nic"}}


@pytest.mark.parametrize("name", sorted(HOSTS))
def test_all_hosts_except_lxd_5_0_2_sort_nested_devices_last(name):
    rendered = render_data(
        b"{% for d in devices.Sorted %}{{ d.Name }} {% endfor %}",
        RULE,
        "start",
        Instance(name="c1", devices=NESTED),
        RenderOptions(HOSTS[name]),
    )
    assert rendered == (b"a0 eth0 " if name == "lxd-debian" else b"eth0 a0 ")


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("incus", "6.1.0"),
        ("incus-6.0", "6.0.0"),
        ("incus-debian", "4.0.2"),
        ("lxd", "dev"),
        ("lxd-6.7", "dev"),
        ("lxd-5.21.4", "dev"),
        ("lxd-debian", "4.0.2"),
    ],
)
def test_the_variable_pongo2_version_is_the_version_of_the_host(name, version):
    rendered = render_data(
        b"{{ pongo2.version }}", RULE, "start", Instance(name="c1"), RenderOptions(HOSTS[name])
    )
    assert rendered.decode() == version
