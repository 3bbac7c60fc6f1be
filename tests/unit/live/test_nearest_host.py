"""The host that is nearest to a daemon's version."""

import pytest

from templater.live.nearest_host import nearest_host
from tests.recorded_daemon import recorded


def environment(version, system="Alpine Linux"):
    return {"server_version": version, "os_name": system}


@pytest.mark.parametrize(
    ("family", "version", "host"),
    [
        ("incus", "7.3", "incus"), ("incus", "7.0.1", "incus"), ("incus", "6.0.6", "incus-6.0"),
        ("incus", "6.22", "incus-6.0"), ("incus", "6.0.4", "incus-6.0.4"), ("incus", "6.10", "incus-6.0.4"),
        ("incus", "6.20.1", "incus-6.0.4"), ("lxd", "6.9", "lxd"), ("lxd", "5.21.5", "lxd"),
        ("lxd", "5.0.7", "lxd"), ("lxd", "6.7", "lxd-6.7"), ("lxd", "5.0.6", "lxd-6.7"),
        ("lxd", "5.21.4", "lxd-5.21.4"), ("lxd", "6.6", "lxd-5.21.4"), ("lxd", "5.0.5", "lxd-5.21.4"),
    ],
)  # fmt: skip
def test_a_known_daemon_release_selects_its_host_definition(family, version, host):
    found = nearest_host(family, environment(version))
    assert found.host.name == host
    assert "nearest" not in found.text and version in found.text


@pytest.mark.parametrize(
    ("family", "version", "host", "why"),
    [
        ("incus", "7.4", "incus", "newer than every release"), ("incus", "8.0", "incus", "newer"),
        ("incus", "7.0.0", "incus-6.0", "which templater does not know"), ("incus", "6.23", "incus-6.0", "which templater does not know"),
        ("incus", "6.0.0", "incus-6.0.4", "which templater does not know"), ("incus", "6.5", "incus-6.0.4", "which templater does not know"),
        ("lxd", "6.10", "lxd", "newer"), ("lxd", "6.8", "lxd-6.7", "which templater does not know"),
        ("lxd", "4.0.11", "lxd-5.21.4", "which templater does not know"), ("incus", "", "incus", "newer"),
    ],
)  # fmt: skip
def test_an_unknown_release_is_treated_as_the_nearest_one(family, version, host, why):
    found = nearest_host(family, environment(version))
    assert found.host.name == host
    assert "nearest" in found.text and why in found.text


@pytest.mark.parametrize(("family", "host"), [("incus", "incus-debian"), ("lxd", "lxd-debian")])
def test_the_recorded_response_of_a_debian_daemon_selects_the_debian_host(family, host):
    (server,) = (each for each in recorded(family) if each["name"] == "server")
    assert nearest_host(family, server["json"]["metadata"]["environment"]).host.name == host
