"""Addresses of running instances."""

import pytest

from templater.live.address import Address, escaped, is_live, parse_address
from templater.model.errors import UsageError


@pytest.mark.parametrize(
    ("src", "expected"),
    [
        ("incus:web1", Address("incus", "local", "web1")),
        ("lxd:web1", Address("lxd", "local", "web1")),
        ("incus:", Address("incus")),
        ("incus:there:web1", Address("incus", "there", "web1")),
        ("incus:there:", Address("incus", "there")),
        ("incus:web*", Address("incus", "local", "web*")),
    ],
)
def test_an_instance_address_is_parsed_to_its_parts(src, expected):
    assert is_live(src)
    address = parse_address(src)
    assert address == expected
    assert parse_address(address.shown) == address
    assert address.is_one == (address.name == "web1")


@pytest.mark.parametrize("src", ["incus:image/debian", "images:debian/13", "./incus", "incus", "store:x"])
def test_an_image_address_is_not_an_instance_address(src):
    assert not is_live(src)


def test_an_existing_path_is_never_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "incus:web1").mkdir()
    assert not is_live("incus:web1")


@pytest.mark.parametrize(
    ("src", "words"),
    [
        ("incus:web1/snap0", "is a snapshot"),
        ("incus:a:b:c", r"is not incus:\[REMOTE:\]NAME"),
        ("incus::c", r"is not incus:\[REMOTE:\]NAME"),
        ("incus:-web", "refuse '-' at the start"),
        ("incus:1234", "digits only"),
    ],
)
def test_an_invalid_address_is_refused(src, words):
    with pytest.raises(UsageError, match=words):
        parse_address(src)


def test_each_daemon_request_contains_the_project():
    assert parse_address("incus:web1", "p 2").query(path="/etc/a b") == "?project=p%202&path=%2Fetc%2Fa%20b"
    with pytest.raises(UsageError, match="can't be combined"):
        parse_address("incus:", "p2", all_projects=True)


def test_special_characters_in_project_names_and_paths_are_escaped_in_requests():
    address = Address("incus", name="x", project="a b\udc80&c=/../é")
    assert address.query(path="../x") == "?project=a%20b%80%26c%3D%2F..%2F%C3%A9&path=..%2Fx"
    assert escaped("\ud800/") == "%3F%2F"
