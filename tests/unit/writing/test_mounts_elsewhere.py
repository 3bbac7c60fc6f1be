"""Files over which a process of another mount namespace has mounted a file."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from templater.model.errors import RefusedError
from templater.model.plan import UPDATE
from templater.rootfs.confined_root import Root
from templater.writing import mounts_elsewhere
from tests.rootfs_builders import as_root

pytestmark = [
    pytest.mark.skipif(not os.path.isdir("/proc/self/ns"), reason="needs mount namespaces"),
    as_root,
]

IMAGE = """\
architecture: x86_64
creation_date: 1700000000
templates:
  {target}:
    when: [start]
    template: a.tpl
"""
#: mounts a file in a way of containers, says so, and stays; the arguments: rootfs, target, the other file
SCRIPTS = {
    "only the file": 'mount --bind "$3" "$1$2"; echo ready; read end',
    "the root filesystem is a mount, too": 'mount --bind "$1" "$1"; mount --bind "$3" "$1$2"; echo ready; read end',
    "another root directory": 'mount --rbind "$1" "$1"; mount --bind "$3" "$1$2"; mkdir -p "$1/old"'
    ' && cd "$1" && pivot_root . old && echo ready && read end',
}

#: mounts a file as a container, and hides this from the table of mounts of the first thread; Python keeps running in
#: another process, whose root directory is the container's, or in another thread
HIDDEN = """
import ctypes, os, subprocess, sys, threading, time
way, rootfs, target, other = sys.argv[1:]
libc = ctypes.CDLL(None)
def mount():
    libc.unshare(0x00020200)  # CLONE_NEWNS and CLONE_FS
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", rootfs, rootfs], check=True)
    subprocess.run(["mount", "--bind", other, rootfs + target], check=True)
    os.chroot(rootfs)
def say():
    time.sleep(0.2)  # until the first thread has ended
    print("ready", flush=True)
    sys.stdin.readline()
    os._exit(0)
if way != "a thread with a namespace of its own":
    mount()
if way == "the first process has called chroot":
    if os.fork() == 0:
        say()
    os.mkdir("/empty")
    os.chroot("/empty")
    time.sleep(100)
thread = threading.Thread(target=say if way == "the first thread has ended" else lambda: (mount(), say()))
thread.start()
if way == "the first thread has ended":
    libc.syscall(60 if os.uname().machine == "x86_64" else 93, 0)  # exit
thread.join()
"""
HIDING = (
    "the first process has called chroot",
    "the first thread has ended",
    "a thread with a namespace of its own",
)


@pytest.fixture
def container(tmp_path: Path) -> "Iterator[Callable[[str, str], int]]":
    """Return a function that starts a process which mounts ``other`` over a target of the root filesystem."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, target: str) -> int:
        program = [sys.executable, "-c", HIDDEN, script]
        if script not in HIDING:
            program = ["unshare", "--mount", "sh", "-ec", script, "sh"]
        words = [*program, tmp_path / "rootfs", target, tmp_path / "other"]
        started.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout is not None
        assert started[-1].stdout.readline() == "ready\n"
        return started[-1].pid

    try:
        yield start
    finally:
        for process in started:
            process.send_signal(signal.SIGKILL)
            process.communicate()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "image/templates").mkdir(parents=True)
    (tmp_path / "image/templates/a.tpl").write_text("new\n")
    (tmp_path / "other").write_text("of the container\n")
    return tmp_path / "image"


def a_target(image: Path, target: str) -> Path:
    (image / "metadata.yaml").write_text(IMAGE.format(target=target))
    file = image.parent / f"rootfs{target}"
    file.parent.mkdir(parents=True)
    file.write_text("old\n")
    return file


def apply(image: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    words = [image, image.parent / "rootfs", "-t", "start", *options]
    return subprocess.run(
        [sys.executable, "-m", "templater", "apply", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def seen_by(process: int, path: Path | str) -> str:
    return Path(f"/proc/{process}/root{path}").read_text()


@pytest.mark.parametrize("target", ["/etc/hosts", "/etc/a b\\c#d", "/top"])
@pytest.mark.parametrize("way", SCRIPTS)
def test_file_below_mount_of_a_container_is_not_replaced(container, image, way, target):
    file = a_target(image, target)
    process = container(SCRIPTS[way], target)
    answer = apply(image)
    assert answer.returncode == 3, answer
    assert f"a running container has mounted another file over '{target}'" in answer.stderr
    assert f"(process {process})" in answer.stderr
    assert file.read_text() == "old\n"
    seen = target if way == "another root directory" else file
    assert seen_by(process, seen) == "of the container\n"


def test_kernel_removes_a_mount_if_file_below_is_replaced(container, image):
    """The kernel's behaviour is the reason for the check of mounts in other namespaces."""
    file = a_target(image, "/etc/hosts")
    process = container(SCRIPTS["only the file"], "/etc/hosts")
    (file.parent / "staged").write_text("new\n")
    (file.parent / "staged").rename(file)
    assert seen_by(process, file) == "new\n"


def test_a_file_can_be_replaced_after_the_container_has_ended(container, image):
    file = a_target(image, "/etc/hosts")
    os.kill(container(SCRIPTS["only the file"], "/etc/hosts"), signal.SIGKILL)
    answer = apply(image)
    while "a running container" in answer.stderr:  # the kernel needs a moment to end the process
        answer = apply(image)
    assert answer.returncode == 0, answer
    assert file.read_text() == "new\n"


def test_file_is_replaced_despite_mount_in_another_root_filesystem(container, image, tmp_path):
    file = a_target(image, "/etc/hosts")
    (tmp_path / "rootfs").rename(tmp_path / "first")
    process = container(SCRIPTS["only the file"].replace('"$1$2"', f'"{tmp_path}/first$2"'), "/etc/hosts")
    a_target(image, "/etc/hosts")
    assert apply(image).returncode == 0
    assert file.read_text() == "new\n"
    assert seen_by(process, tmp_path / "first/etc/hosts") == "of the container\n"


@pytest.mark.parametrize("is_changed", [False, True])
def test_keep_modified_option_does_not_disable_the_mount_check(container, image, tmp_path, is_changed):
    file = a_target(image, "/etc/hosts")
    (tmp_path / "state").mkdir()
    assert apply(image, "--state", str(tmp_path / "state")).returncode == 0
    if is_changed:
        file.write_text("changed by hand\n")
    (image / "templates/a.tpl").write_text("newer\n")
    container(SCRIPTS["only the file"], "/etc/hosts")
    answer = apply(image, "--state", str(tmp_path / "state"), "--keep-modified")
    assert answer.returncode == (1 if is_changed else 3), answer  # a file that is kept needs no check
    assert file.read_text() == ("changed by hand\n" if is_changed else "new\n")


def test_file_mounted_in_other_namespaces_is_written_in_place(container, image, mounts, tmp_path):
    file = a_target(image, "/etc/hosts")
    mounts.bind(tmp_path / "other", file)
    process = container("echo ready; read end", "/etc/hosts")
    answer = apply(image, "--cross-mounts")
    assert answer.returncode == 0, answer
    assert seen_by(process, file) == (tmp_path / "other").read_text() == "new\n"


@pytest.mark.slow
@pytest.mark.parametrize("way", HIDING)
def test_apply_finds_mount_outside_table_of_the_first_thread(container, image, way):
    file = a_target(image, "/etc/hosts")
    container(way, "/etc/hosts")
    answer = apply(image)
    assert answer.returncode == 3, answer
    assert "a running container has mounted another file over '/etc/hosts'" in answer.stderr
    assert file.read_text() == "old\n"


@pytest.mark.slow
def test_a_stack_of_mounts_delays_apply_only_for_a_limited_time(container, image, tmp_path):
    """The kernel needs seconds to print a mount table with a stack of mounts.

    Each user can make such a stack in a user namespace.
    """
    file = a_target(image, "/etc/hosts")
    stack = """import ctypes, os, sys
libc = ctypes.CDLL(None)
source = os.fsencode(sys.argv[1])
top = os.open(sys.argv[1], os.O_PATH)
for _ in range(12000):
    tree = libc.syscall(428, -100, source, 0x80001)  # open_tree
    assert libc.syscall(429, tree, b"", top, b"", 0x44) == 0  # move_mount
    os.close(top)
    top = tree
"""
    (tmp_path / "stack.py").write_text(stack)
    way = f'"{sys.executable}" "{tmp_path}/stack.py" "$3" && echo ready && read end'
    process = container(way, "/etc/hosts")
    code = "import sys; from templater.writing import mounts_elsewhere; mounts_elsewhere.MAX_SECONDS = 0.2"
    words = ["apply", image, tmp_path / "rootfs", "-t", "start"]
    before = os.times()
    answer = subprocess.run(
        [sys.executable, "-c", f"{code}; from templater.__main__ import main; sys.exit(main())", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    after = os.times()
    assert answer.returncode == 0, answer
    assert file.read_text() == "new\n"
    assert f"note: reading the mounts of process {process} takes too long" in answer.stderr
    assert after.children_system - before.children_system < 1.5


def test_apply_skips_a_process_if_reading_its_mounts_takes_too_long(monkeypatch):
    line = b"22 1 0:20 / /proc - x\n23 22 0:21 /up /proc/hosts - x\n"
    shares = []

    class Reader:
        pid, used, answers = 1, 0.0, [(b"1 a\n2 b\n", True), (b"", False), (line, True)]

        def __init__(self, texts, end):
            pass

        def read(self, seconds):
            shares.append(seconds)
            return self.answers.pop(0)

        def close(self):
            self.pid = 0

    monkeypatch.setattr(mounts_elsewhere, "_Reader", Reader)
    found, incomplete = mounts_elsewhere.places_of_mounts({b"hosts"})
    assert (found, incomplete) == ({(b"0:20", b"/hosts"): "2"}, ["1"])
    assert shares == pytest.approx(
        [1.0, 1.0, 2.0], abs=0.2
    )  # the time that the list and the first table have left


def test_apply_reads_the_mounts_of_its_own_namespace_once(container, image, tmp_path, monkeypatch):
    targets = ["/etc/hosts", "/etc/a", "/etc/b"]
    for target in targets:
        (tmp_path / f"rootfs{target}").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"rootfs{target}").write_text("old\n")
    container(SCRIPTS["only the file"], "/etc/hosts")
    read = []
    pieces = mounts_elsewhere._pieces  # another process reads the tables of other namespaces
    monkeypatch.setattr(mounts_elsewhere, "_pieces", lambda thread: (read.append(thread), pieces(thread))[1])
    changes = [SimpleNamespace(action=UPDATE, in_place=False, real=each, path=each) for each in targets[::-1]]
    with Root(str(tmp_path / "rootfs")) as root:
        check = mounts_elsewhere.refuse_mounted(SimpleNamespace(changes=changes), root, print)
        for change in changes[:2]:
            check(change)
        with pytest.raises(RefusedError, match="over '/etc/hosts'"):
            check(changes[2])
    assert read == ["/proc/self"]


@pytest.mark.parametrize("way", ["works", pytest.param("waits", marks=pytest.mark.slow)])
def test_endless_read_of_mount_table_does_not_block_apply(way, monkeypatch):
    """While the kernel searches thousands of mounts outside of a root directory, no signal ends the read."""
    table = b"22 1 0:20 / /proc - x\n23 22 0:21 /up /proc/hosts - x\n"

    def pieces(thread):
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
        while thread == "a":
            time.sleep(0.001 if way == "waits" else 0)
        yield table[:30]
        yield table[30:]

    monkeypatch.setattr(mounts_elsewhere, "MAX_SECONDS", 0.4 if way == "works" else 60)
    monkeypatch.setattr(mounts_elsewhere, "MAX_WAIT", 2 if way == "waits" else 60)
    monkeypatch.setattr(mounts_elsewhere, "_other_threads", lambda: [("2", "b"), ("1", "a"), ("3", "b")])
    monkeypatch.setattr(mounts_elsewhere, "_pieces", pieces)
    start = time.monotonic()
    found, incomplete = mounts_elsewhere.places_of_mounts({b"hosts"})
    assert time.monotonic() - start < 30
    assert found == {(b"0:20", b"/hosts"): "2" if way == "waits" else "3"}
    assert incomplete == (["1", "3"] if way == "waits" else ["1"])  # no time is left for the last table


def test_mount_namespaces_are_listed_before_root_directories_are_read(monkeypatch):
    """Three thousand threads below a stack of mounts took nine seconds, and apply failed."""
    places = {
        "/proc/self": (1, "/"),
        "a1": (1, "/"),
        "b1": (2, "/x"),
        "b2": (2, "/x"),
        "b3": (2, "/y"),
        "c1": (3, "/"),
    }
    read = []
    monkeypatch.setattr(mounts_elsewhere.os, "listdir", lambda folder: ["7", "self"])
    monkeypatch.setattr(mounts_elsewhere, "_threads", lambda folder: ["a1", "b1", "b2", "b3", "c1"])
    monkeypatch.setattr(mounts_elsewhere, "_namespace", lambda thread: places[thread][0])
    monkeypatch.setattr(
        mounts_elsewhere, "_root_of", lambda thread: (read.append(thread), places[thread][1])[1]
    )
    threads = mounts_elsewhere._other_threads()
    assert [next(threads), next(threads), read] == [("7", "b1"), ("7", "c1"), []]
    assert list(threads) == [("7", "b3")]


@pytest.mark.parametrize("limit", ["time", "tables"])
def test_few_processes_are_started_even_if_many_mount_tables_are_slow(limit, monkeypatch):
    """9,000 threads below stacks of mounts started 9,000 processes, and apply failed."""
    started = []

    class Reader:
        used = 0.0

        def __init__(self, texts, end):
            self.pid = len(started) + 1
            started.append(self)

        def read(self, seconds):
            if len(started) == 1:
                return b"".join(b"%d x\n" % number for number in range(9000)), True
            self.used = 3.0 if limit == "time" else 0.0
            return b"", False

        def close(self):
            self.pid = 0

    monkeypatch.setattr(mounts_elsewhere, "_Reader", Reader)
    found, incomplete = mounts_elsewhere.places_of_mounts({b"hosts"})
    assert (found, len(incomplete)) == ({}, 9000)
    assert len(started) == (2 if limit == "time" else mounts_elsewhere.MOST_INCOMPLETE + 2)


def test_a_huge_mount_table_is_not_read_to_its_end(monkeypatch):
    tables = partial(mounts_elsewhere._tables, [("1", "/proc/self")])
    with closing(mounts_elsewhere._Reader(tables, float("inf"))) as reader:
        whole, is_complete = reader.read(60)
        assert (whole.count(b"\n") > 3, is_complete) == (True, True)
    monkeypatch.setattr(mounts_elsewhere, "MAX_TABLE", 40)
    with closing(mounts_elsewhere._Reader(tables, float("inf"))) as reader:
        assert reader.read(60) == (b"", False)
    assert not mounts_elsewhere._lines(b"22 1 0:20 / /proc")


def test_process_with_many_open_files_can_read_mount_table():
    """select.select failed with a ValueError for a descriptor above 1,023."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 2048), before[1]))
    tables = partial(mounts_elsewhere._tables, [("1", "/proc/self")])
    opened = [os.open("/", os.O_RDONLY)]
    try:
        while opened[-1] < 1024:
            opened.append(os.dup(opened[0]))
        with closing(mounts_elsewhere._Reader(tables, float("inf"))) as reader:
            assert reader.fd > 1023
            assert reader.read(60)[1]
    finally:
        for fd in opened:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
