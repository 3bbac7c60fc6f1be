"""Files of btrfs that a hook removes: the last close is in another process."""

import errno
import os
import select
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from templater.rootfs import confined, held_files
from templater.rootfs.confined import Directory, Root
from templater.rootfs.held_files import hand_over, hold, keep

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")


@pytest.fixture(autouse=True)
def children(monkeypatch):
    """Return the processes that ``hand_over`` has started, and wait for them after the test."""
    fork, started = os.fork, []

    def recorded():
        pid = fork()
        started.append(pid)
        return pid

    monkeypatch.setattr(held_files.os, "fork", recorded)
    yield started
    for pid in started:
        assert os.waitpid(pid, 0)[1] == 0


@pytest.fixture
def held(monkeypatch, children):
    """Return the list of descriptors that this process holds, as in a hook."""
    held: list[int] = []
    monkeypatch.setattr(Directory, "held", held)
    yield held
    for fd in held:
        os.close(fd)


@pytest.fixture
def inodes(monkeypatch):
    """Return a function that sets the number of inodes that every file system reports."""

    def report(number):
        answer = SimpleNamespace(f_files=number)
        calls = {**vars(confined.os), "fstatvfs": lambda fd: answer}
        monkeypatch.setattr(confined, "os", SimpleNamespace(**calls))

    return report


@pytest.fixture
def top(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    with Root(str(tmp_path)) as root, root.directory("/") as directory:
        yield directory


def test_a_hook_holds_removed_and_replaced_files_of_btrfs(top, held, inodes, tmp_path):
    inodes(0)
    gone = [(tmp_path / name).stat().st_ino for name in ("a", "c")]
    top.unlink("a")
    top.rename("b", top, "c")
    top.rename("c", top, "new")
    assert [os.fstat(fd).st_ino for fd in held] == gone
    assert [os.fstat(fd).st_nlink for fd in held] == [0, 0]
    assert not any(os.get_inheritable(fd) for fd in held)


def test_a_removed_link_is_not_followed(top, held, inodes, tmp_path):
    inodes(0)
    (tmp_path / "link").symlink_to("a")
    number = (tmp_path / "link").lstat().st_ino
    top.unlink("link")
    assert [os.fstat(fd).st_ino for fd in held] == [number]


@pytest.mark.parametrize("in_hook", [False, True])
def test_files_are_held_only_in_hooks_and_only_on_btrfs(top, held, inodes, monkeypatch, in_hook, tmp_path):
    inodes(1000 if in_hook else 0)
    if not in_hook:
        monkeypatch.setattr(Directory, "held", None)
    top.unlink("a")
    top.rename("b", top, "c")
    assert held == [] and os.listdir(tmp_path) == ["c"]


@pytest.mark.parametrize("below_overlay", [False, True])
def test_a_real_btrfs_is_recognized(tmp_path, mounts, held, below_overlay):
    place = mounts.btrfs(tmp_path)
    if below_overlay:
        folders = [place / name for name in ("lower", "upper", "work", "merged")]
        for folder in folders:
            folder.mkdir()
        mounts.overlay(*folders, "index=off")
        place = folders[-1]
    (place / "a").write_text("a")
    with Root(str(place)) as root, root.directory("/") as directory:
        directory.unlink("a")
    assert len(held) == 1
    hand_over(held)


def test_a_missing_file_is_not_held_and_its_removal_raises_an_error(top, held, inodes):
    inodes(0)
    with pytest.raises(FileNotFoundError):
        top.unlink("nosuch")
    assert held == []


def test_a_hook_holds_a_limited_number_of_files(top, held, children, monkeypatch):
    monkeypatch.setattr(held_files, "MOST_HELD", 2)
    for name in ("a", "b", "c"):
        hold(held, top.fd, name)
    assert (len(held), len(children)) == (1, 1)


def test_kept_files_count_towards_the_limit_of_held_files(top, held, children, monkeypatch):
    monkeypatch.setattr(held_files, "MOST_HELD", 2)
    kept = [os.dup(top.fd) for _ in range(3)]
    for fd in kept:
        keep(held, fd)
    assert (held, len(children)) == (kept[2:], 1)


def test_held_files_are_handed_over_if_the_hook_cannot_open_another_file(top, held, monkeypatch):
    hold(held, top.fd, "a")
    opened, calls = os.open, []

    def full(*arguments, **options):
        calls.append(len(held))
        if held:
            raise OSError(errno.EMFILE, "too many open files")
        return opened(*arguments, **options)

    monkeypatch.setattr(held_files.os, "open", full)
    hold(held, top.fd, "b")
    assert (calls, len(held)) == ([1, 0], 1)
    monkeypatch.setattr(held_files.os, "open", lambda *_, **__: opened("/nosuch/file", 0))
    hold(held, top.fd, "c")
    assert len(held) == 1  # a file that can't be opened is removed as usual


#: Holds the end of a pipe, of which a reader learns when the last descriptor is closed.
SCRIPT = """
import os, select, sys, time
from templater.rootfs import held_files
if "noproc" in sys.argv:
    os.listdir = held_files.os.listdir = None
    def listdir(path): raise OSError
    held_files.os.listdir = listdir
read = os.read
def slow(fd, size):  # only the other process reads
    data = read(fd, size)
    time.sleep(2)
    return data
held_files.os.read = slow
reader, writer = os.pipe()
held = [writer]
held_files.hand_over(held)
ended, _, _ = select.select([reader], [], [], 0)
print(held, len(ended), flush=True)
"""


@pytest.mark.parametrize("option", ["", "noproc"])
def test_readers_of_the_output_do_not_wait_for_the_process_that_closes_the_held_files(option):
    began = time.monotonic()
    words = [sys.executable, "-c", SCRIPT, option]
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[] 0\n", "")
    assert time.monotonic() - began < 2


def test_the_process_that_closes_held_files_ends_after_the_last_close(children):
    reader, writer = os.pipe()
    held = [writer]
    hand_over(held)
    assert held == []
    assert select.select([reader], [], [], 20)[0]
    os.close(reader)
    assert len(children) == 1


@pytest.mark.parametrize("call", ["pipe", "fork"])
def test_held_files_are_closed_at_once_if_no_process_can_be_started(call, monkeypatch):
    def fails():
        raise OSError(errno.EAGAIN, "try again")

    before = os.listdir("/proc/self/fd")
    reader, writer = os.pipe()
    monkeypatch.setattr(held_files.os, call, fails)
    held = [writer]
    hand_over(held)
    assert held == [] and select.select([reader], [], [], 0)[0]
    os.close(reader)
    assert os.listdir("/proc/self/fd") == before


def test_no_process_starts_if_no_files_are_held(monkeypatch):
    monkeypatch.setattr(held_files.os, "fork", None)
    hand_over([])
