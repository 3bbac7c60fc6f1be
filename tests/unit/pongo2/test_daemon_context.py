"""Methods of the variable ``devices``. tests/vectors has recorded calls of real daemons."""

import pytest

from templater import pongo2
from templater.model.errors import RenderError
from templater.pongo2.daemon_context import daemon_context

DEVICES = {
    "eth0": {"type": "nic", "parent": "br0", "mtu": ""},
    "eth1": {"type": "nic", "parent": "br0"},
    "root": {"type": "disk", "path": "/"},
}


def value(expression):
    compiled = pongo2.compile(f"{{{{ {expression} }}}}", mode="incus")
    return compiled.render(daemon_context("create", "/etc/x", {"name": "c1"}, {}, DEVICES, {}))


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("devices.Sorted.Len()", "3"),
        ("devices.Sorted.Less(0, 1)", "True"), ("devices.Sorted.Less(1, 0)", "False"), ("devices.Sorted.Less(1, 1)", "False"),
        ('devices.Contains("eth0", devices.eth1)', "True"), ('devices.Contains("eth1", devices.eth0)', "True"),
        ('devices.Contains("eth0", devices.root)', "False"), ('devices.Contains("eth2", devices.eth0)', "False"),
    ],
)  # fmt: skip
def test_a_comparison_of_two_devices_ignores_empty_keys(expression, text):
    assert value(expression) == text


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ('devices.Sorted.Less("a", 1)', "function input argument 0 of 'devices.Sorted.Less' must be of type int or *pongo2.Value (not string)"),
        ('devices.Sorted.Less(0, "a")', "function input argument 1 of 'devices.Sorted.Less' must be of type int or *pongo2.Value (not string)"),
        ("devices.Sorted.Less(0, 3)", "runtime error: index out of range [3] with length 3"),
        ("devices.Sorted.Less(-1, 0)", "runtime error: index out of range [-1]"),
        ("devices.Contains(1, devices.root)", "function input argument 0 of 'devices.Contains' must be of type string or *pongo2.Value (not int)"),
        ('devices.Contains("eth0")', "function input argument count (2) of 'devices.Contains' must be equal to the calling argument count (1)"),
    ],
)  # fmt: skip
def test_methods_of_devices_refuse_wrong_arguments_as_in_pongo2(expression, message):
    with pytest.raises(RenderError) as caught:
        value(expression)
    assert caught.value.message == message
