"""The errors of the lock on a root filesystem."""

import errno
import os
from pathlib import Path

import pytest

from templater.model.errors import BusyError, WriteError
from templater.rootfs.confined import Root
from templater.writing import lock as module
from templater.writing.lock import lock


@pytest.mark.parametrize("call", ["open", "flock"])
def test_a_system_error_of_the_lock_names_the_directory_and_leaves_no_descriptor_open(
    call, tmp_path, monkeypatch
):
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
def test_the_error_about_a_held_lock_names_the_process_that_holds_the_lock(readable, tmp_path, monkeypatch):
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


def test_the_name_of_the_process_that_holds_the_lock_is_escaped(tmp_path):
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


def test_the_lock_is_taken_as_soon_as_the_other_process_releases_it(tmp_path, monkeypatch):
    with Root(str(tmp_path)) as root:
        held, pauses = [lock(root, 0)], []

        def sleep(seconds):
            pauses.append(seconds)
            if len(pauses) == 3:
                os.close(held.pop())

        monkeypatch.setattr(module.time, "sleep", sleep)
        os.close(lock(root, 60))
    assert len(pauses) == 3 and 0 < max(pauses) < 0.1


def test_the_file_that_names_the_holder_of_the_lock_is_closed_after_reading(tmp_path):
    (tmp_path / "locks").write_text("text")
    before = os.listdir("/proc/self/fd")
    assert module._read_file(f"{tmp_path}/locks") == b"text"
    assert os.listdir("/proc/self/fd") == before
