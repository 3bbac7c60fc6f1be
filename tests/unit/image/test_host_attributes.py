"""Which extended attributes of a file belong to the host and not to the image."""

import errno

import pytest

from templater.image.xattrs import xattr_names, xattrs_of, xattrs_of_link

OWN = ["security.capability", "system.posix_acl_access", "trusted.other", "user.a"]
OF_THE_HOST = [
    "security.SMACK64",
    "security.evm",
    "security.ima",
    "security.selinux",
    "trusted.overlay.opaque",
]


@pytest.fixture
def names(monkeypatch):
    monkeypatch.setattr("os.listxattr", lambda *_, **__: [*reversed(OWN), *OF_THE_HOST], raising=False)
    monkeypatch.setattr("os.getxattr", lambda path, name, **_: name.upper().encode(), raising=False)


def test_attributes_that_belong_to_the_host_are_left_out(names):
    values = {name: name.upper().encode() for name in OWN}
    for found in (xattrs_of(0), xattrs_of_link(0, "a")):
        assert found == values and list(found) == OWN
    assert xattr_names(0, "a") == frozenset(OWN)


def test_a_file_system_without_extended_attributes_gives_none(names, monkeypatch):
    def unsupported(*_, **__):
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr("os.listxattr", unsupported)
    assert (xattrs_of(0), xattrs_of_link(0, "a"), xattr_names(0, "a")) == ({}, {}, frozenset())
    monkeypatch.delattr("os.listxattr")
    assert (xattrs_of(0), xattrs_of_link(0, "a"), xattr_names(0, "a")) == ({}, {}, frozenset())
