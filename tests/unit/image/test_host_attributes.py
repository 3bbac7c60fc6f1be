"""Which extended attributes of a file are read, and which errors mean that a file has none."""

import errno
import os
from pathlib import Path

import pytest

from templater.image.directory_members import Tree
from templater.image.limits import DEFAULT
from templater.image.tar_reader import open_archive
from templater.image.tar_writer import TarWriter
from templater.image.xattrs import privilege_names, xattr_names, xattrs_of, xattrs_of_entry
from templater.model.errors import InputError, LimitError
from templater.rootfs.directory_rootfs import open_root

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


def of_each_reader():
    return xattrs_of(0, "f", 1000), xattrs_of_entry(0, "a", "f", 1000), xattr_names(0, "a", "f")


def test_each_reader_of_extended_attributes_skips_the_attributes_of_the_host(names):
    values = {name: name.upper().encode() for name in OWN}
    *found, listed = of_each_reader()
    for each in found:
        assert each == values and list(each) == OWN
    assert listed == frozenset(OWN)


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOENT])
def test_a_file_system_without_extended_attributes_gives_empty_results(names, monkeypatch, number):
    def unsupported(*_, **__):
        raise OSError(number, "not supported")

    monkeypatch.setattr("os.listxattr", unsupported)
    assert of_each_reader() == ({}, {}, frozenset())
    monkeypatch.delattr("os.listxattr")
    assert of_each_reader() == ({}, {}, frozenset())


READERS = [
    lambda: xattrs_of(0, "f", 1000),
    lambda: xattrs_of_entry(0, "a", "f", 1000),
    lambda: xattr_names(0, "a", "f"),
]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.EIO, InputError, "'f' can't be read: "),
        (errno.EACCES, InputError, "'f' can't be read: "),
        (errno.E2BIG, LimitError, "the names of the extended attributes of 'f' have more than 64 KiB"),
        (errno.ERANGE, LimitError, "the names of the extended attributes of 'f' have more than 64 KiB"),
    ],
)
def test_an_error_while_listing_attributes_is_raised(names, monkeypatch, read, number, kind, message):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.listxattr", fail)
    with pytest.raises(kind) as caught:
        read()
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize("read", READERS[:2])
def test_the_error_about_an_unreadable_extended_attribute_contains_the_cause(names, monkeypatch, read):
    def fail(*_, **__):
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr("os.getxattr", fail)
    with pytest.raises(InputError, match="can't be read: i/o error"):
        read()


def test_templater_finds_privilege_attributes_without_listing_all_attributes(monkeypatch):
    asked = []

    def get(path, name, *, follow_symlinks):
        asked.append((path, name, follow_symlinks))
        if name == "system.posix_acl_default":
            raise OSError(errno.ENODATA, "no data")
        return b""

    monkeypatch.setattr("os.getxattr", get, raising=False)
    assert privilege_names(7, "a") == {"security.capability", "system.posix_acl_access"}
    assert {(path, follow) for path, _, follow in asked} == {("/proc/self/fd/7/a", False)}


def test_extended_attributes_are_read_up_to_a_limit_in_bytes(names, monkeypatch):
    """An attribute counts with its name, its value and 23 bytes of its pax record."""
    most = sum(2 * len(name) + 23 for name in OWN)
    assert list(xattrs_of(0, "f", most)) == list(xattrs_of_entry(0, "a", "f", most)) == OWN
    for read in (lambda: xattrs_of(0, "f", most - 1), lambda: xattrs_of_entry(0, "a", "f", most - 1)):
        with pytest.raises(
            LimitError, match=f"'f' needs more than {most - 1} bytes for its extended attributes"
        ):
            read()


def test_the_limit_on_attributes_includes_their_encoded_names(
    monkeypatch,
):
    monkeypatch.setattr("os.listxattr", lambda *_, **__: ["user.=%"], raising=False)
    monkeypatch.setattr("os.getxattr", lambda *_, **__: b"12", raising=False)
    most = len("1234567 SCHILY.xattr.user.%3D%25=12\n")
    assert xattrs_of(0, "f", most) == {"user.=%": b"12"}
    with pytest.raises(LimitError):
        xattrs_of(0, "f", most - 1)


@pytest.mark.slow
@pytest.mark.parametrize("sparse", [False, True])
def test_an_archived_file_at_the_limit_on_attributes_is_readable(
    tmp_path: Path, monkeypatch, sparse: bool
) -> None:
    """The limit leaves room for the other records: a sparse file with a long name needs most of them."""
    folder = tmp_path / ("ü" * 100)
    folder.mkdir()
    file = folder / ("ü" * 100)
    file.write_bytes(b"x")
    if sparse:
        os.truncate(file, 1 << 20)
    limits = DEFAULT._replace(header_bytes=3000)
    monkeypatch.setattr("os.listxattr", lambda *_, **__: ["user.a", "user.b"], raising=False)
    size, seen = 0, 0
    sizes = {"user.a": 1}
    monkeypatch.setattr("os.getxattr", lambda _, name, **__: bytes(sizes.get(name, size)), raising=False)
    with open_root(str(tmp_path)) as root:
        for size in range(1500, 3000):
            try:
                member = Tree(root, limits).file(f"/{folder.name}/{file.name}", f"{folder.name}/{file.name}")
            except LimitError:
                break
            member.uid = member.gid = 1 << 31
            member.mtime = 1 << 35
            archive = bytearray()
            writer = TarWriter(archive.extend)
            writer.add(member, [(0, b"x")])
            writer.close()
            (tmp_path / "made.tar").write_bytes(archive)
            (back,) = open_archive(str(tmp_path / "made.tar"), limits)
            assert back.xattrs == member.xattrs
            seen += 1
    assert seen > 100
