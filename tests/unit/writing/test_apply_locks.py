"""The errors of the lock on a root filesystem."""

import errno
import os
from pathlib import Path

import pytest

from templater.model.errors import BusyError, WriteError
from templater.rootfs.confined_root import Root
from templater.writing import apply_locks as module
from templater.writing.apply_locks import lock, lock_all
from tests.rootfs_builders import a_directory, as_root


@pytest.mark.parametrize("call", ["open", "flock"])
def test_failed_lock_leaves_no_descriptor_open(call, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    with Root(str(tmp_path)) as root:
        before = os.listdir("/proc/self/fd")
        with monkeypatch.context() as patch:
            patch.setattr(module.os if call == "open" else module.fcntl, call, fail)
            with pytest.raises(WriteError) as caught:
                lock(root, 0)
        assert os.listdir("/proc/self/fd") == before
    assert caught.value.message == "can't lock '/': no locks available"


@pytest.mark.parametrize("readable", [True, False, "too large"])
def test_the_error_about_a_held_lock_shows_the_holding_process(readable, tmp_path, monkeypatch):
    if not readable:
        monkeypatch.setattr(module, "_read_file", lambda _: os.listdir("/proc/self/none"))
    if readable == "too large":
        read = module.read_descriptor
        monkeypatch.setattr(module, "read_descriptor", lambda fd, _, path: read(fd, 1, path))
    with Root(str(tmp_path)) as root:
        held = lock(root, 0)
        with pytest.raises(BusyError) as caught:
            lock(root, 0)
        os.close(held)
        os.close(lock(root, 0))
    name = Path("/proc/self/comm").read_text().strip()
    holder = f"process {os.getpid()} ({name})" if readable is True else "another process"
    assert caught.value.message == f"'{tmp_path}' is being written by {holder}"
    assert caught.value.hint == "wait until that process ends, or allow a longer wait"


def test_the_name_of_the_lock_holder_is_escaped(tmp_path):
    """Any process that can open the root directory can hold its lock, and choose its own name."""
    name = Path("/proc/self/comm")
    before = name.read_text()
    with Root(str(tmp_path)) as root:
        held = lock(root, 0)
        try:
            name.write_text("\x1b[2J\nok: x")
            with pytest.raises(BusyError, match=r" \(\\x1b\[2J\\nok: x\)$"):
                lock(root, 0)
        finally:
            name.write_text(before)
            os.close(held)


def test_lock_is_taken_soon_after_another_process_releases_it(tmp_path, monkeypatch):
    with Root(str(tmp_path)) as root:
        held, pauses = [lock(root, 0)], []

        def sleep(seconds):
            pauses.append(seconds)
            if len(pauses) == 3:
                os.close(held.pop())

        monkeypatch.setattr(module.time, "sleep", sleep)
        os.close(lock(root, 60))
    assert len(pauses) == 3 and 0 < max(pauses) < 0.1


def test_the_file_with_the_lock_holder_is_closed_after_reading(tmp_path):
    (tmp_path / "locks").write_text("text")
    before = os.listdir("/proc/self/fd")
    assert module._read_file(f"{tmp_path}/locks") == b"text"
    assert os.listdir("/proc/self/fd") == before


@as_root
@pytest.mark.parametrize("path", ["/data/sub/f", "/data/sub/new/f"])
def test_a_volume_and_its_subdirectory_have_the_same_lock(path, tmp_path, mounts):
    """Two starts wrote the same files, and the rollback of one start removed files of the second start."""
    volume = a_directory(tmp_path / "volume", {"sub/other": ""})
    first = a_directory(tmp_path / "first", {"data/x": "", "etc/x": ""})
    second = a_directory(tmp_path / "second", {"data/sub/x": ""})
    mounts.bind(volume, first / "data")
    mounts.bind(volume / "sub", second / "data/sub")
    with Root(str(first), cross_mounts=True) as one, Root(str(second), cross_mounts=True) as two:
        for here, there in ((one, two), (two, one)):
            held, _ = lock_all(here, [path], [], 0)
            with pytest.raises(BusyError, match=r"^'/data(/sub)?' is being written by process "):
                lock_all(there, [path], [], 0)
            for fd in held:
                os.close(fd)
        held, waited = lock_all(one, ["/etc/f"], [], 0)
        assert (len(held), waited) == (1, False), "directories outside of mounts need no lock"
        os.close(held[0])


@as_root
def test_start_waits_equally_long_for_volumes_and_root_directories(tmp_path, mounts, monkeypatch):
    """A start waited for ten seconds only, so most of fourteen containers with one volume did not start."""
    volume = a_directory(tmp_path / "volume", {"x": ""})
    top = a_directory(tmp_path / "top", {"data/x": ""})
    mounts.bind(volume, top / "data")
    held, times = [os.open(volume, os.O_RDONLY)], iter(range(1000))
    module.fcntl.flock(held[0], module.fcntl.LOCK_EX)

    def monotonic():
        now = next(times)
        if now > 20 and held:
            os.close(held.pop())
        return float(now)

    monkeypatch.setattr(module.time, "monotonic", monotonic)
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    with Root(str(top), cross_mounts=True) as root:
        locks, waited = lock_all(root, ["/data/f"], [], 60)
        for fd in locks:
            os.close(fd)
    assert waited and not held


@as_root
def test_root_directory_mounted_below_itself_is_locked_only_once(tmp_path, mounts):
    """The start waited for its own lock, and failed."""
    top = a_directory(tmp_path / "top", {"self/x": "", "etc/x": ""})
    mounts.bind(top, top / "self")
    with Root(str(top), cross_mounts=True) as root:
        held, waited = lock_all(root, ["/self/etc/f", "/etc/f"], [], 0)
        assert not waited
        for fd in held:
            os.close(fd)


@as_root
def test_unchanged_mounted_file_without_source_is_locked_only_briefly(tmp_path, mounts, monkeypatch):
    """After the host had replaced the file, ``close`` kept the old file open and locked until the end."""
    top = a_directory(tmp_path / "top", {"etc/a": "", "etc/b": ""})
    (tmp_path / "file").write_text("x")
    for name in "ab":
        mounts.bind(tmp_path / "file", top / "etc" / name)
    (tmp_path / "file").unlink()
    kept: list[int] = []
    monkeypatch.setattr(module, "close", kept.append)
    with Root(str(top), cross_mounts=True) as root:
        held, waited = lock_all(root, [], ["/etc/a", "/etc/b", "/etc/a"], 0)
    assert not waited
    for fd in (*held, *kept):
        os.close(fd)
