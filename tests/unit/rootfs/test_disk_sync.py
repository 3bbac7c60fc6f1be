"""Syncing of files: fsync for few files, syncfs for many, order and commits on btrfs."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys

import pytest

from templater import oslite
from templater.model.errors import LimitError, WriteError
from templater.rootfs import disk_sync, file_system_type
from templater.rootfs.confined_directory import Directory
from templater.rootfs.confined_root import Root
from templater.rootfs.disk_sync import (
    MOST_FSYNCS,
    can_sync_file_system,
    commit,
    create_to_sync,
    is_same_btrfs,
    sync_all,
    sync_and_name,
    sync_contents,
    sync_file_system,
)
from tests.faults.warm import REPOSITORY
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
def test_files_are_synced_one_by_one_without_safe_syncfs(calls, files, monkeypatch, why):
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


def in_time():
    """Raise no error: the time limit on preparing files is not over."""


def test_the_content_of_many_files_is_synced_by_one_call(calls, files):
    if disk_sync.can_order(next(iter(files(1)))):
        pytest.skip("NOT RUN: needs a file system other than btrfs")
    many = files(MANY)
    sync_contents("write", many, in_time)
    assert calls == [("syncfs", min(many))]


START, WAIT, INFO, WRITE = 0x80089418, 0x40089416, 0x8400941F, 0xC020660B


@pytest.fixture
def real(monkeypatch):
    """Return the list of system calls that sync, with the number of names of the file. They are not replaced.

    "write" is the request FIEMAP, which writes the content of a file.
    """
    seen = []
    fsync, ioctl, call_libc = disk_sync.os.fsync, fcntl.ioctl, disk_sync.call_libc

    def add(name, fd):
        seen.append((name, os.fstat(fd).st_nlink if name in ("fsync", "write") else 0))

    def libc(name, fd, *arguments):
        if name == "syncfs":
            add(name, fd)
        return call_libc(name, fd, *arguments)

    def request(fd, number, *arguments):
        if number != INFO:
            add({START: "start", WAIT: "wait", WRITE: "write"}[number], fd)
        return ioctl(fd, number, *arguments)

    monkeypatch.setattr(disk_sync.os, "fsync", lambda fd: add("fsync", fd) or fsync(fd))
    monkeypatch.setattr(disk_sync, "call_libc", libc)
    monkeypatch.setattr(fcntl, "ioctl", request)
    return seen


COMMIT = [("start", 0), ("wait", 0)]


@pytest.fixture
def on_btrfs(tmp_path, mounts, request):
    """Return a directory on btrfs, or on an overlay over btrfs."""
    place = mounts.btrfs(tmp_path)
    kind = getattr(request, "param", "btrfs")
    if kind == "btrfs":
        return place
    folders = [place / name for name in ("lower", "an upper layer", "work")] + [tmp_path / "merged"]
    for folder in folders:
        folder.mkdir()
    mounts.overlay(*folders, "index=off,volatile" if kind == "volatile" else "index=off")
    return folders[-1]


def unnamed(place):
    fd = os.open(place, os.O_RDWR | os.O_TMPFILE, 0o600)
    os.write(fd, b"x" * 3000)
    return fd


@as_root
@pytest.mark.parametrize("on_btrfs", ["btrfs", "overlay"], indirect=True)
def test_attack_85_on_btrfs_no_file_or_directory_is_synced_by_fsync(on_btrfs, real):
    """fsync of a directory or a named file wrote gigabytes of attributes of other files for minutes."""
    (on_btrfs / "named").write_text("text")
    files = {unnamed(on_btrfs): "/a", unnamed(on_btrfs): "/b"}
    directory = os.open(on_btrfs, os.O_RDONLY)
    named = os.open(on_btrfs / "named", os.O_RDWR)
    try:
        sync_contents("write", files, in_time)
        sync_all("write", {directory: "/"})
        sync_all("write", {directory: "/", named: "/named"})
    finally:
        for fd in (*files, directory, named):
            os.close(fd)
    assert real == [("write", 0), ("write", 0), *COMMIT, ("write", 1), *COMMIT]


@as_root
def test_many_btrfs_directories_are_synced_by_one_commit_after_parallel_writes(on_btrfs, real, monkeypatch):
    """syncfs would wait for other processes."""
    monkeypatch.setattr(disk_sync, "MOST_FSYNCS", 1)
    begun = []
    monkeypatch.setattr(disk_sync.os, "posix_fadvise", lambda fd, *_: begun.append((fd, *real)))
    files = [unnamed(on_btrfs) for _ in range(2)]
    directories = [os.open(on_btrfs, os.O_RDONLY) for _ in range(2)]
    try:
        sync_contents("write", dict.fromkeys(files, "/a"), in_time)
        sync_all("write", dict.fromkeys(directories, "/"))
    finally:
        for fd in (*files, *directories):
            os.close(fd)
    assert begun == [(fd,) for fd in files]
    assert real == [("write", 0), ("write", 0), *COMMIT]


@as_root
@pytest.mark.parametrize("error", ["time", "disk"])
def test_a_btrfs_sync_ends_at_the_first_error(on_btrfs, real, monkeypatch, error):
    def failed(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def over():
        raise LimitError("too late")

    monkeypatch.setattr(disk_sync, "MOST_FSYNCS", 1)
    monkeypatch.setattr(disk_sync.os, "posix_fadvise", failed)
    if error == "disk":
        monkeypatch.setattr(fcntl, "ioctl", failed)
    files = [unnamed(on_btrfs) for _ in range(2)]
    text = "too late" if error == "time" else "can't write '/a': input/output error"
    try:
        with pytest.raises(LimitError if error == "time" else WriteError, match=text):
            sync_contents("write", dict.fromkeys(files, "/a"), over if error == "time" else in_time)
    finally:
        for fd in files:
            os.close(fd)
    assert real == []


@pytest.mark.slow
@as_root
@pytest.mark.parametrize("on_btrfs", ["btrfs", "overlay"], indirect=True)
def test_only_subvolumes_of_one_btrfs_are_treated_as_the_same_btrfs(on_btrfs, tmp_path, mounts, real):
    place = tmp_path / "mounted"
    subprocess.run(["btrfs", "subvolume", "create", place / "subvolume"], check=True, capture_output=True)
    (tmp_path / "second").mkdir()
    second = mounts.btrfs(tmp_path / "second")
    opened = [os.open(each, os.O_RDONLY) for each in (on_btrfs, place, place / "subvolume", second)]
    try:
        found = [is_same_btrfs(opened[0], fd) for fd in opened]
    finally:
        for fd in opened:
            os.close(fd)
    assert found == [True, True, True, False]
    assert real == []


@as_root
@pytest.mark.parametrize("error", [errno.ENOTTY, errno.EPERM])
def test_a_directory_is_synced_by_syncfs_if_btrfs_refuses_ioctls(on_btrfs, real, monkeypatch, error):
    """A system-call filter can refuse the ioctls of btrfs."""

    def refused(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "ioctl", refused)
    fd = os.open(on_btrfs, os.O_RDONLY)
    try:
        assert not commit(fd)
        sync_all("write", {fd: "/"})
    finally:
        os.close(fd)
    assert real == [("syncfs", 0)]


@as_root
@pytest.mark.parametrize("on_btrfs", ["volatile"], indirect=True)
def test_the_upper_layer_is_synced_if_btrfs_refuses_ioctls(on_btrfs, monkeypatch, real):
    """syncfs of a volatile overlay does nothing."""

    def refused(*_):
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))

    synced = []
    call_libc = disk_sync.call_libc

    def libc(name, fd, *arguments):
        synced.append(file_system_type.is_overlay(fd))
        return call_libc(name, fd, *arguments)

    monkeypatch.setattr(fcntl, "ioctl", refused)
    monkeypatch.setattr(disk_sync, "call_libc", libc)
    files = {unnamed(on_btrfs): "/a"}
    try:
        sync_contents("write", files, in_time)
    finally:
        os.close(*files)
    assert synced == [False]
    assert real == [("syncfs", 0)]


@as_root
def test_the_error_of_a_failed_commit_on_btrfs_mentions_the_file(on_btrfs, monkeypatch):
    def failed(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "ioctl", failed)
    fd = os.open(on_btrfs, os.O_RDONLY)
    try:
        with pytest.raises(WriteError, match="can't put in place '/etc': input/output error"):
            sync_all("put in place", {fd: "/etc"})
    finally:
        os.close(fd)


@as_root
@pytest.mark.parametrize("on_btrfs", ["overlay"], indirect=True)
@pytest.mark.parametrize("why", ["unknown path", "other file system", "no /proc", "link"])
def test_syncfs_is_called_if_the_upper_layer_is_inaccessible(on_btrfs, real, monkeypatch, tmp_path, why):
    if why == "link":
        (tmp_path / "link").symlink_to(tmp_path / "mounted")
        os.lchown(tmp_path / "link", 1234, 1234)
    paths = {"unknown path": "/nosuch", "other file system": "/", "no /proc": "", "link": f"{tmp_path}/link"}
    monkeypatch.setattr(disk_sync, "_upper_layer", lambda fd: paths[why])
    fd = os.open(on_btrfs, os.O_RDONLY)
    before = os.listdir("/proc/self/fd")
    try:
        sync_all("write", {fd: "/"})
        assert os.listdir("/proc/self/fd") == before
    finally:
        os.close(fd)
    assert real == [("syncfs", 0)]


@as_root
def test_a_process_finds_the_upper_layer_of_its_own_overlay(tmp_path, mounts, real):
    """A hook mounts the layers by descriptors, see ``mount_overlay``."""
    place = mounts.btrfs(tmp_path)
    folders = [place / name for name in ("lower", "upper", "work", "merged")]
    for folder in folders:
        folder.mkdir()
    layers = [os.open(folder, os.O_RDONLY) for folder in folders[:3]]
    names = [f"/proc/self/fd/{fd}" for fd in layers]
    options = f"lowerdir={names[0]},upperdir={names[1]},workdir={names[2]},index=off"
    if oslite.libc("mount")(b"overlay", bytes(folders[3]), b"overlay", 0, options.encode()):
        pytest.skip("NOT RUN: needs overlayfs")
    mounts.places.append(folders[3])
    fd = os.open(folders[3], os.O_RDONLY)
    try:
        assert commit(fd)
    finally:
        for each in (fd, *layers):
            os.close(each)
    assert real == COMMIT


@pytest.mark.parametrize("name", ["tmpfs", "disk"])
def test_nothing_is_committed_on_file_systems_other_than_btrfs(tmp_path, real, name):
    fd = unnamed("/dev/shm" if name == "tmpfs" and os.path.isdir("/dev/shm") else tmp_path)
    try:
        if disk_sync.is_on_btrfs(fd):
            pytest.skip("NOT RUN: needs a file system other than btrfs")
        assert not commit(fd)
        assert not is_same_btrfs(fd, fd)
    finally:
        os.close(fd)
    assert real == []


@as_root
@pytest.mark.parametrize("where", ["namespace", "subvolume", "read-only mount"])
def test_every_process_with_an_open_btrfs_file_can_commit_the_btrfs(on_btrfs, tmp_path, mounts, where):
    place = on_btrfs
    if where == "subvolume":
        subprocess.run(["btrfs", "subvolume", "create", place / "sub"], check=True, capture_output=True)
        place /= "sub"
    elif where == "read-only mount":
        place = tmp_path / "bound"
        place.mkdir()
        mounts.bind(on_btrfs, place)
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
    (on_btrfs / "new").touch()
    code = (
        f"import os; from templater.rootfs.disk_sync import commit; assert commit(os.open({str(place)!r}, 0))"
    )
    become = ["unshare", "--user", "--map-user=1234"] if where == "namespace" else []
    subprocess.run([*become, sys.executable, "-c", code], check=True, cwd=REPOSITORY)


@pytest.mark.slow
@as_root
def test_a_btrfs_commit_writes_names_and_content_to_disk(on_btrfs, tmp_path, mounts, real):
    """The disk of this test is a file, so a copy of the file shows the disk after a power cut."""
    (on_btrfs / "old").write_text("old")
    with Root(str(on_btrfs)) as root, root.directory("/") as directory:
        fd = create_to_sync(directory, "new")
        os.write(fd, b"new" * 9999)
        assert os.listdir(on_btrfs) == ["old"]
        sync_and_name("write", "/new", fd, directory, "new")
        os.close(fd)
        directory.rename("new", directory, "old")
        assert real == [("write", 0)]  # it has not waited for the disk
        assert commit(directory.fd)
    shutil.copyfile(tmp_path / "disk", tmp_path / "copy")
    mounts.end()
    (tmp_path / "after").mkdir()
    mounts.loop(tmp_path / "copy", tmp_path / "after")
    assert os.listdir(tmp_path / "after") == ["old"]
    assert (tmp_path / "after/old").read_bytes() == b"new" * 9999


@pytest.mark.parametrize("way", ["btrfs", "no O_TMPFILE", "no /proc", "disk"])
def test_on_btrfs_a_new_file_gets_its_name_after_the_sync(calls, tmp_path, monkeypatch, way):
    monkeypatch.setattr(disk_sync, "is_on_btrfs", lambda fd: way != "disk")
    monkeypatch.setattr(disk_sync, "has_unnamed", lambda: way != "no /proc")
    if way == "no O_TMPFILE":

        def unsupported(*_):
            raise OSError(errno.EOPNOTSUPP, "unsupported")

        monkeypatch.setattr(Directory, "create_unnamed", unsupported)
    with Root(str(tmp_path)) as root, root.directory("/") as directory:
        fd = create_to_sync(directory, "new", 0o640)
        assert os.listdir(tmp_path) == ([] if way == "btrfs" else ["new"])
        sync_and_name("write", "/new", fd, directory, "new")
        os.close(fd)
        assert os.listdir(tmp_path) == ["new"]
        with pytest.raises(FileExistsError):
            fd = create_to_sync(directory, "new")
            sync_and_name("write", "/new", fd, directory, "new")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640


def test_creating_a_file_on_a_full_disk_gives_an_error(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(disk_sync, "is_on_btrfs", lambda fd: True)
    monkeypatch.setattr(Directory, "create_unnamed", full)
    with (
        Root(str(tmp_path)) as root,
        root.directory("/") as directory,
        pytest.raises(OSError, match="full"),
    ):
        create_to_sync(directory, "new")


@pytest.mark.parametrize(("number", "name"), [(1, "fsync"), (MANY, "syncfs")])
def test_an_interrupted_sync_is_repeated(calls, files, number, name):
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
