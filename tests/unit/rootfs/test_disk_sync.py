"""Syncing of files: fsync for few files, syncfs for many."""

import errno
import os
import sys

import pytest

from templater.model.errors import WriteError
from templater.rootfs import disk_sync, file_system_type
from templater.rootfs.confined import Root
from templater.rootfs.disk_sync import (
    MOST_FSYNCS,
    can_sync_file_system,
    sync_all,
    sync_file_system,
    sync_replacement,
)
from tests.rootfs_builders import as_root

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="syncfs is a call of Linux")

MANY = MOST_FSYNCS + 1


@pytest.fixture
def calls(monkeypatch):
    """Return the list of system calls, which fail with the errors in ``calls.errors`` and else succeed."""
    calls = Calls()
    monkeypatch.setattr(disk_sync.os, "fsync", lambda fd: calls.add("fsync", fd))
    call_libc = disk_sync.call_libc

    def recorded(name, fd, *arguments):
        return calls.add(name, fd) if name == "syncfs" else call_libc(name, fd, *arguments)

    monkeypatch.setattr(disk_sync, "call_libc", recorded)
    return calls


class Calls(list):
    errors: tuple[int, ...] = ()

    def add(self, name, fd):
        self.append((name, fd))
        if self.errors:
            number, *self.errors = self.errors
            raise OSError(number, os.strerror(number))
        return 0


@pytest.fixture
def files(tmp_path):
    """Return a function that opens files and returns their descriptors with their paths."""
    opened = {}

    def files(number, folder=tmp_path):
        new = {os.open(folder / f"{n}", os.O_RDWR | os.O_CREAT): f"/{n}" for n in range(number)}
        opened.update(new)
        return new

    yield files
    for fd in opened:
        os.close(fd)


def test_a_few_files_are_synced_one_by_one(calls, files):
    few = files(MOST_FSYNCS)
    sync_all("write", few)
    assert calls == [("fsync", fd) for fd in few]


def test_many_files_are_synced_by_one_call(calls, files):
    many = files(MANY)
    sync_all("write", many)
    assert calls == [("syncfs", min(many))]


@as_root
def test_many_files_are_synced_by_one_call_for_each_mount(calls, files, tmp_path, mounts):
    (tmp_path / "m").mkdir()
    mounts.tmpfs(tmp_path / "m", "size=1m")
    here, there = files(MANY), files(MANY, tmp_path / "m")
    sync_all("write", {**here, **there})
    assert calls == [("syncfs", min(here)), ("syncfs", min(there))]


@pytest.mark.parametrize("why", ["the type of the file system", "a kernel without fstatfs"])
def test_many_files_are_synced_one_by_one_if_syncfs_is_not_known_to_be_safe(calls, files, monkeypatch, why):
    """FUSE does not ask its server to sync."""
    if why == "a kernel without fstatfs":

        def missing(name, fd, *arguments):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(file_system_type, "call_libc", missing)
    else:
        monkeypatch.setattr(disk_sync, "_TYPES", frozenset())
    many = files(MANY)
    sync_all("write", many)
    assert calls == [("fsync", fd) for fd in many]


def test_syncfs_is_not_used_for_the_proc_file_system():
    fd = os.open("/proc", os.O_RDONLY)
    try:
        assert not can_sync_file_system(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize("which", ["the file", "its directory"])
@pytest.mark.parametrize(
    ("number", "on_btrfs", "call"), [(3, True, "fsync"), (200, True, "syncfs"), (200, False, "fsync")]
)
def test_syncfs_replaces_fsync_if_a_file_or_its_directory_has_many_attributes_on_btrfs(
    calls, files, tmp_path, monkeypatch, which, number, on_btrfs, call
):
    """On btrfs, the fsync of a directory with 220,000 attributes took a minute.

    On ext4, a user of the container could choose syncfs by such attributes. syncfs waited for 12 seconds for
    the files that the user wrote meanwhile.
    """
    monkeypatch.setattr(disk_sync, "is_on_btrfs", lambda fd: on_btrfs)
    (file,) = one = files(1)
    top = os.open(tmp_path, os.O_RDONLY)
    try:
        for n in range(number):
            os.setxattr(file if which == "the file" else top, f"user.{n}", b"")
        sync_all("write", one, [top])
    except OSError as error:
        pytest.skip(f"NOT RUN: needs attributes: {error}")
    finally:
        os.close(top)
    assert calls == [(call, file)]


@pytest.mark.parametrize(
    ("number", "on_btrfs", "call"),
    [(None, True, "fsync"), (3, True, "fsync"), (200, True, "syncfs"), (200, False, "fsync")],
)
def test_syncfs_replaces_fsync_if_a_new_file_replaces_a_file_with_many_attributes_on_btrfs(
    calls, files, tmp_path, monkeypatch, number, on_btrfs, call
):
    monkeypatch.setattr(disk_sync, "is_on_btrfs", lambda fd: on_btrfs)
    (new,) = files(1)
    if number is not None:
        (tmp_path / "old").touch()
    try:
        for n in range(number or 0):
            os.setxattr(tmp_path / "old", f"user.{n}", b"")
    except OSError as error:
        pytest.skip(f"NOT RUN: needs attributes: {error}")
    before = os.listdir("/proc/self/fd")
    with Root(str(tmp_path)) as root, root.directory("/") as directory:
        assert sync_replacement("write", new, directory, "old") is (call == "syncfs")
    assert calls == [(call, new)]
    assert os.listdir("/proc/self/fd") == before


def test_syncfs_replaces_fsync_if_the_attributes_of_the_replaced_file_are_unknown(
    calls, files, tmp_path, monkeypatch
):
    monkeypatch.setattr(disk_sync, "is_on_btrfs", lambda fd: bool(os.fstat(fd)))
    (new,) = files(1)
    (tmp_path / "link").symlink_to("0")
    with Root(str(tmp_path)) as root, root.directory("/") as directory:
        assert sync_replacement("write", new, directory, "link")
    assert calls == [("syncfs", new)]


@pytest.mark.parametrize(("error", "call"), [(errno.ENOTSUP, "fsync"), (errno.EIO, "syncfs")])
def test_a_file_whose_attributes_are_unknown_is_synced_by_syncfs(calls, files, monkeypatch, error, call):
    monkeypatch.setattr(disk_sync, "is_on_btrfs", lambda fd: True)
    call_libc = disk_sync.call_libc

    def failing(name, fd, *arguments):
        if name == "flistxattr":
            raise OSError(error, os.strerror(error))
        return call_libc(name, fd, *arguments)

    monkeypatch.setattr(disk_sync, "call_libc", failing)
    one = files(1)
    sync_all("write", one)
    assert calls == [(call, min(one))]


@pytest.mark.parametrize(("number", "name"), [(1, "fsync"), (MANY, "syncfs")])
def test_an_interrupted_sync_is_repeated_and_a_failed_sync_names_the_file(calls, files, number, name):
    some = files(number)
    calls.errors = (errno.EINTR, errno.EIO)
    with pytest.raises(WriteError) as caught:
        sync_all("put in place", some)
    assert caught.value.message == "can't put in place '/0': input/output error"
    assert calls == [(name, min(some))] * 2


def test_the_syncfs_system_call_works_and_reports_an_invalid_descriptor(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    sync_file_system(fd)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        sync_file_system(fd)
