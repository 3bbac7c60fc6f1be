"""Files that a hook or command removes: the last close is in another process."""

import contextlib
import errno
import os
import select
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from templater.rootfs import close_in_another_process
from templater.rootfs.close_in_another_process import SMALL, close, handing_over, hold
from templater.rootfs.confined_root import Root
from templater.rootfs.regular_files import read_regular
from tests.rootfs_builders import as_root

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs O_PATH")


@pytest.fixture(autouse=True)
def children(monkeypatch):
    """Return the started processes, and wait for them after the test."""
    fork, started = os.fork, []

    def recorded():
        pid = fork()
        started.append(pid)
        return pid

    monkeypatch.setattr(close_in_another_process.os, "fork", recorded)
    yield started
    for pid in started:
        with contextlib.suppress(ChildProcessError):  # ``handing_over`` has waited for it
            assert os.waitpid(pid, 0)[1] in (0, signal.SIGKILL)


@pytest.fixture
def held(monkeypatch, children):
    """Return the list of descriptors that this process holds, as in a hook or command."""
    held: list[int] = []
    monkeypatch.setattr(close_in_another_process, "_held", held)
    monkeypatch.setattr(close_in_another_process, "_highest", 0)
    yield held
    for fd in held:
        os.close(fd)


@pytest.fixture
def inodes(monkeypatch):
    """Return a function that sets the number of inodes that every file system reports."""

    def report(number):
        monkeypatch.setattr(
            close_in_another_process.os, "fstatvfs", lambda fd: SimpleNamespace(f_files=number)
        )

    return report


@pytest.fixture
def top(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    with Root(str(tmp_path)) as root, root.directory("/") as directory:
        yield directory


def test_removed_and_replaced_files_on_btrfs_are_kept_open(top, held, inodes, tmp_path):
    inodes(0)
    gone = [(tmp_path / name).stat().st_ino for name in ("a", "c")]
    top.unlink("a")
    top.rename("b", top, "c")
    top.rename("c", top, "new")
    assert [os.fstat(fd).st_ino for fd in held] == gone
    assert [os.fstat(fd).st_nlink for fd in held] == [0, 0]
    assert not any(os.get_inheritable(fd) for fd in held)


def test_a_removed_link_itself_is_kept_open(top, held, inodes, tmp_path):
    inodes(0)
    (tmp_path / "link").symlink_to("a")
    number = (tmp_path / "link").lstat().st_ino
    top.unlink("link")
    assert [os.fstat(fd).st_ino for fd in held] == [number]


def test_a_removed_directory_on_btrfs_is_kept_open(top, held, inodes, tmp_path):
    """An empty directory with 150,000 attributes took 4 seconds of system time to remove."""
    inodes(0)
    (tmp_path / "folder").mkdir()
    number = (tmp_path / "folder").stat().st_ino
    top.rmdir("folder")
    assert [os.fstat(fd).st_ino for fd in held] == [number]


@pytest.mark.parametrize("size", [SMALL, SMALL + 1])
@pytest.mark.parametrize("call", ["unlink", "rename"])
def test_only_large_removed_files_are_kept_open_outside_btrfs(top, held, inodes, tmp_path, size, call):
    inodes(1000)
    number = (tmp_path / "a").stat().st_ino
    os.truncate(tmp_path / "a", size)
    if call == "unlink":
        top.unlink("a")
    else:
        top.rename("b", top, "a")
    assert [os.fstat(fd).st_ino for fd in held] == ([number] if size > SMALL else [])


def test_removed_files_on_unknown_file_systems_are_kept_open(top, held, monkeypatch):
    def fails(fd):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(close_in_another_process.os, "fstatvfs", fails)
    top.unlink("a")
    assert [os.fstat(fd).st_nlink for fd in held] == [0]


def test_the_python_api_keeps_no_removed_files_open(top, inodes, tmp_path):
    inodes(0)
    before = os.listdir("/proc/self/fd")
    top.unlink("a")
    top.rename("b", top, "c")
    fd = os.open(tmp_path / "c", os.O_RDONLY)
    top.unlink("c")
    close(fd)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("which", ["file", "folder", "root", "link"])
def test_attack_86_files_removed_by_another_process_stay_open(top, held, tmp_path, which):
    """A directory with 100,000 attributes took 6 seconds to close, and so did a file of root."""
    place = tmp_path / which
    if which == "file":
        place.touch()
        read = read_regular(lambda flags: os.open(place, flags), 9, "/file", lambda fd: place.unlink())
        assert (read, len(held)) == (b"", 1)
    elif which == "link":
        place.symlink_to("a")
        fd = os.open(place, os.O_PATH | os.O_NOFOLLOW)
        place.unlink()
        close(fd)
    else:
        place.mkdir()
        with top.directory(which) if which == "folder" else Root(str(place)):
            place.rmdir()
    assert [os.fstat(fd).st_nlink for fd in held] == [0]


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
    close_in_another_process._hand_over(held, 9.0)


def test_removing_a_missing_file_keeps_no_file_open(top, held, inodes):
    inodes(0)
    with pytest.raises(FileNotFoundError):
        top.unlink("nosuch")
    assert held == []


def test_the_number_of_removed_files_that_stay_open_is_limited(top, held, inodes, children, monkeypatch):
    inodes(0)
    monkeypatch.setattr(close_in_another_process, "MOST_HELD", 2)
    monkeypatch.setattr(close_in_another_process, "MOST_HELD_PART", 0)
    for name in ("a", "b", "c"):
        hold(top.fd, name)
    assert (len(held), len(children)) == (1, 1)


def test_many_open_files_reduce_the_number_of_closing_processes(top, held, inodes, children, monkeypatch):
    """Each new process got a copy of all descriptors: 8,000 rules took 18 seconds."""
    inodes(0)
    monkeypatch.setattr(close_in_another_process, "MOST_HELD", 4)
    opened = [os.dup(top.fd) for _ in range(320)]
    for _ in range(int(2.5 * max(opened) * close_in_another_process.MOST_HELD_PART)):
        hold(top.fd, "a")
    assert len(children) == 2
    for fd in opened:
        os.close(fd)


def test_ended_processes_do_not_accumulate(top, held, inodes, children, monkeypatch):
    """With 8,000 replaced files on btrfs, a hook had 250 ended processes."""
    inodes(0)
    monkeypatch.setattr(close_in_another_process, "MOST_HELD", 1)
    monkeypatch.setattr(close_in_another_process, "MOST_HELD_PART", 0)
    for _ in range(4):
        hold(top.fd, "a")
        for child in children:  # until the process has ended, without removing the kernel's record of it
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert len(children) == 3
    for child in children[:-1]:
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)


def test_the_limit_includes_removed_files_that_were_opened_earlier(
    top, held, children, monkeypatch, tmp_path
):
    monkeypatch.setattr(close_in_another_process, "MOST_HELD", 2)
    monkeypatch.setattr(close_in_another_process, "MOST_HELD_PART", 0)
    opened = [os.open(tmp_path / name, os.O_RDONLY) for name in ("a", "b", "c")]
    for name, fd in zip(("a", "b", "c"), opened, strict=True):
        (tmp_path / name).unlink()
        close(fd)
    assert (held, len(children)) == (opened[2:], 1)


def test_another_process_closes_removed_files_if_descriptors_run_out(top, held, inodes, monkeypatch):
    inodes(0)
    hold(top.fd, "a")
    opened, calls = os.open, []

    def full(*arguments, **options):
        calls.append(len(held))
        if held:
            raise OSError(errno.EMFILE, "too many open files")
        return opened(*arguments, **options)

    monkeypatch.setattr(close_in_another_process.os, "open", full)
    hold(top.fd, "b")
    assert (calls, len(held)) == ([1, 0], 1)
    monkeypatch.setattr(close_in_another_process.os, "open", lambda *_, **__: opened("/nosuch/file", 0))
    hold(top.fd, "c")
    assert len(held) == 1  # a file that can't be opened is removed as usual


#: Holds the end of a pipe, of which a reader learns when the last descriptor is closed.
SCRIPT = """
import os, sys, time
from templater.rootfs import close_in_another_process
if "noproc" in sys.argv:
    os.listdir = close_in_another_process.os.listdir = None
    def listdir(path): raise OSError
    close_in_another_process.os.listdir = listdir
read = os.read
def slow(fd, size):  # only the other process reads
    data = read(fd, size)
    time.sleep(2)
    return data
close_in_another_process.os.read = slow
reader, writer = os.pipe()
close_in_another_process.PATIENCE = 0.2
close_in_another_process.handing_over(lambda: close_in_another_process._held.append(writer))
print(close_in_another_process._held, flush=True)
"""


def test_directories_are_removed_at_once_without_a_free_descriptor(tmp_path, monkeypatch):
    """The start failed for too many open files, and all of its new directories remained."""
    (tmp_path / "a").mkdir()

    def full(*_, **__):
        raise OSError(errno.EMFILE, "too many open files")

    with Root(str(tmp_path)) as top:

        def remove() -> None:
            monkeypatch.setattr(close_in_another_process.os, "open", full)
            close_in_another_process.remove_directory(top.fd, "a")
            monkeypatch.undo()
            assert not (tmp_path / "a").exists() and close_in_another_process._doomed == []

        close_in_another_process.handing_over(remove)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["", "noproc"])
def test_output_readers_do_not_wait_for_the_closing_process(option):
    began = time.monotonic()
    words = [sys.executable, "-c", SCRIPT, option]
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "None\n", "")
    assert time.monotonic() - began < 2


def test_templater_waits_a_short_time_for_the_closing_process(children):
    """Otherwise, umount of the file system right after the command could fail."""
    reader, writer = os.pipe()
    assert handing_over(lambda: close_in_another_process._held.append(writer)) is None
    assert select.select([reader], [], [], 0)[0]
    os.close(reader)
    assert len(children) == 1
    with pytest.raises(ChildProcessError):
        os.waitpid(children[0], os.WNOHANG)


def test_another_process_closes_removed_files_even_after_an_error(children, monkeypatch):
    monkeypatch.setattr(close_in_another_process.os, "waitpid", fails)  # as if this process ignored SIGCHLD
    reader, writer = os.pipe()

    def broken():
        close_in_another_process._held.append(writer)
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        handing_over(broken)
    assert select.select([reader], [], [], 20)[0]
    os.close(reader)
    assert len(children) == 1


def test_the_process_for_closing_files_ends_even_after_an_error(children, monkeypatch, tmp_path):
    """Otherwise, this process would go on with the hook's work, as a second hook."""

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(close_in_another_process, "_close_last", fail)
    log, pid = tmp_path / "log", os.getpid()
    with contextlib.suppress(MemoryError):
        handing_over(lambda: close_in_another_process._held.append(os.open(tmp_path, os.O_RDONLY)))
    with log.open("a") as file:
        file.write("went on\n")
    if os.getpid() != pid:
        os._exit(1)
    assert log.read_text() == "went on\n"


def test_nested_calls_keep_removed_files_of_the_caller_open(held):
    handing_over(lambda: handing_over(lambda: None))
    assert close_in_another_process._held is held


def test_a_signal_does_not_end_the_closing_process(children):
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(os.getpid()))
    fork = close_in_another_process.os.fork

    def interrupted():
        pid = fork()
        os.kill(os.getpid(), signal.SIGUSR1)
        return pid

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(close_in_another_process.os, "fork", interrupted)
            handing_over(lambda: close_in_another_process._held.append(os.dup(2)))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [os.getpid()]
    assert len(children) == 1


def fails(*_):
    raise OSError(errno.EAGAIN, "try again")


@pytest.mark.parametrize("call", ["pipe", "fork"])
def test_removed_files_are_closed_at_once_without_another_process(call, monkeypatch):
    before = os.listdir("/proc/self/fd")
    reader, writer = os.pipe()
    monkeypatch.setattr(close_in_another_process.os, call, fails)
    handing_over(lambda: close_in_another_process._held.append(writer))
    assert select.select([reader], [], [], 0)[0]
    os.close(reader)
    assert os.listdir("/proc/self/fd") == before


def test_a_hook_leaves_no_descriptor_open_even_after_an_error(tmp_path, monkeypatch):
    (tmp_path / "removed").mkdir()
    earlier = os.open(tmp_path, os.O_RDONLY)
    before, handed_over = os.listdir("/proc/self/fd"), []

    def hand_over(held, patience):
        handed_over.extend(os.fstat(fd).st_ino for fd in held)
        for fd in held:
            os.close(fd)

    def leave_open() -> None:
        close_in_another_process.close_rest_at_end()
        for flags in (os.O_RDONLY, os.O_PATH):
            os.open(tmp_path, flags)
            os.open(tmp_path / "removed", flags)
        (tmp_path / "removed").rmdir()
        raise ValueError

    number = (tmp_path / "removed").stat().st_ino
    monkeypatch.setattr(close_in_another_process, "_hand_over", hand_over)
    with pytest.raises(ValueError, match=r"^$"):
        handing_over(leave_open)
    assert handed_over == [number, number]
    assert os.listdir("/proc/self/fd") == before
    later = handing_over(os.dup, earlier)
    os.close(later)  # a program that calls the function `main` of a command keeps its files
    os.close(earlier)


def test_nested_calls_keep_other_files_of_the_caller_open(tmp_path):
    before = os.listdir("/proc/self/fd")

    def leave_open() -> None:
        close_in_another_process.close_rest_at_end()
        fd = os.open(tmp_path, os.O_RDONLY)
        handing_over(lambda: None)
        os.fstat(fd)

    handing_over(leave_open)
    assert os.listdir("/proc/self/fd") == before


def test_a_hook_or_command_closes_no_pipe_of_its_own_threads():
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    handing_over(lambda: (close_in_another_process.close_rest_at_end(), os.pipe()))
    os.close(reader)
    os.close(writer)


def test_a_process_is_started_only_if_removed_files_are_open(monkeypatch):
    monkeypatch.setattr(close_in_another_process.os, "fork", None)
    assert handing_over(lambda number: number, 5) == 5


def test_attack_83_another_process_removes_directories_when_templater_ends(top, tmp_path, children):
    """The removal of an empty directory took 7 seconds after a process had looked up missing names in it."""
    names = ["one", "one/two", "full"]
    for name in (*names, "full/file"):
        (tmp_path / name).mkdir()
    before = os.listdir("/proc/self/fd")

    def remove() -> None:
        close_in_another_process.close_rest_at_end()
        with top.directory("one") as one:
            one.rmdir_at_end("two")
        for name in ("one", "full", "missing"):
            top.rmdir_at_end(name)
        assert all((tmp_path / name).exists() for name in names)
        close_in_another_process._make_room(close_in_another_process._held)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(close_in_another_process, "MOST_HELD", 0)
        patch.setattr(close_in_another_process, "MOST_HELD_PART", 0)
        handing_over(remove)
    assert [(tmp_path / name).exists() for name in names] == [False, False, True]
    assert len(children) == 2
    assert os.listdir("/proc/self/fd") == before


@as_root
def test_attack_96_in_a_pid_namespace_templater_removes_directories_itself(tmp_path):
    """A container traced the process that removed the directories.

    The process had all rights on the host and, with crun, an open directory of the host.
    """
    (tmp_path / "one").mkdir()
    script = f"""
import os
from templater.rootfs import close_in_another_process
from templater.rootfs.confined_root import Root
def remove():
    with Root({str(tmp_path)!r}) as root, root.directory("/") as directory:
        directory.rmdir_at_end("one")
def rmdir(*words, **names):
    real(*words, **names)
    print("itself", flush=True)  # another process has no output
real, close_in_another_process.os.rmdir = close_in_another_process.os.rmdir, rmdir
close_in_another_process.handing_over(remove)
"""
    said = []
    for words in ([], ["unshare", "--pid", "--fork"]):
        said.append(subprocess.check_output([*words, sys.executable, "-c", script], text=True))
        assert not (tmp_path / "one").exists()
        (tmp_path / "one").mkdir()
    assert said == ["", "itself\n"]


def test_attack_83_removing_directories_ends_after_one_second(top, tmp_path, monkeypatch, children):
    """With `chattr +S +D`, 2,000 directories of another container took 12 seconds at each start."""
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    clock = iter([0.0, 0.5, 0.9, 1.1])
    monkeypatch.setattr(close_in_another_process, "monotonic", clock.__next__)
    monkeypatch.setattr(close_in_another_process, "_can_be_traced", lambda: True)
    monkeypatch.setattr(close_in_another_process, "_wait", lambda *_: None)
    handing_over(lambda: [top.rmdir_at_end(name) for name in ("one", "two", "three")])
    assert sum(name in os.listdir(tmp_path) for name in ("one", "two", "three")) == 1


STOPPED = """
import os, signal, sys
from templater.rootfs import close_in_another_process
fork = os.fork
def forked():
    pid = fork()
    if pid:
        print(pid, flush=True)
        os.kill(pid, signal.SIGSTOP)
    return pid
close_in_another_process.os.fork = forked
close_in_another_process.PATIENCE = 0.1
close_in_another_process.handing_over(lambda: close_in_another_process._held.append(os.open("/", os.O_PATH)))
os.waitpid(-1, 0)
"""


def test_attack_96_a_stopped_process_for_closing_files_is_killed_when_templater_ends():
    """Another process stopped the process that closes files. A container could trace this stopped process."""
    done = subprocess.run(
        [sys.executable, "-c", STOPPED], capture_output=True, text=True, timeout=20, check=True
    )
    assert not os.path.exists(f"/proc/{done.stdout.strip()}")


def test_a_process_with_unreadable_status_is_treated_as_traceable(
    monkeypatch,
):
    assert close_in_another_process._can_be_traced() is False
    monkeypatch.setattr(close_in_another_process.os, "open", fails)
    assert close_in_another_process._can_be_traced() is True


@pytest.mark.parametrize("call", ["pipe", "fork"])
def test_templater_removes_directories_itself_if_it_cannot_start_another_process(
    top, tmp_path, call, monkeypatch
):
    (tmp_path / "one").mkdir()
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(close_in_another_process.os, call, fails)
    handing_over(top.rmdir_at_end, "one")
    assert not (tmp_path / "one").exists()
    assert os.listdir("/proc/self/fd") == before


def test_the_python_api_removes_a_directory_at_once(top, tmp_path):
    (tmp_path / "one").mkdir()
    top.rmdir_at_end("one")
    assert not (tmp_path / "one").exists()
    with pytest.raises(FileNotFoundError):
        top.rmdir_at_end("one")


@as_root
def test_an_overlay_directory_is_removed_before_the_overlay_unmount(tmp_path, mounts):
    folders = [tmp_path / name for name in ("lower", "upper", "work", "merged")]
    for folder in folders:
        folder.mkdir()
    for itself in (True, False):
        mounts.overlay(*folders, "index=off")
        (folders[3] / "one").mkdir()

        def remove(itself=itself):
            close_in_another_process.unmount_at_end(str(folders[3]), itself=itself)
            with Root(str(folders[3])) as root, root.directory("/") as directory:
                directory.rmdir_at_end("one")

        handing_over(remove)
        mounts.places.pop()
        assert not os.path.ismount(folders[3])
        assert os.listdir(folders[1]) == []
