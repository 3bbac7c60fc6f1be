"""Files over which a process of another mount namespace has mounted a file."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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


@pytest.fixture
def container(tmp_path: Path) -> "Iterator[Callable[[str, str], int]]":
    """Return a function that starts a process which mounts ``other`` over a target of the root filesystem."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, target: str) -> int:
        words = [
            "unshare",
            "--mount",
            "sh",
            "-ec",
            script,
            "sh",
            tmp_path / "rootfs",
            target,
            tmp_path / "other",
        ]
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


@pytest.mark.parametrize("target", ["/etc/hosts", "/etc/a b\\c", "/top"])
@pytest.mark.parametrize("way", SCRIPTS)
def test_a_file_is_not_replaced_if_a_container_has_mounted_another_over_it(container, image, way, target):
    file = a_target(image, target)
    process = container(SCRIPTS[way], target)
    answer = apply(image)
    assert answer.returncode == 3, answer
    assert f"a running container has mounted another file over '{target}'" in answer.stderr
    assert f"(process {process})" in answer.stderr
    assert file.read_text() == "old\n"
    seen = target if way == "another root directory" else file
    assert seen_by(process, seen) == "of the container\n"


@pytest.mark.parametrize("how", ["another root directory", "first thread has ended"])
def test_the_mounts_of_a_container_are_found_if_its_first_process_does_not_show_them(
    container, image, tmp_path, how
):
    """Its root user can let the first process run in an empty root directory, or end its first thread."""
    file = a_target(image, "/etc/hosts")
    mount = SCRIPTS["only the file"].partition("; echo")[0]
    (tmp_path / "hide.py").write_text(HIDE)
    container(f'{mount}; exec {sys.executable} {tmp_path}/hide.py "{how}"', "/etc/hosts")
    answer = apply(image)
    assert answer.returncode == 3, answer
    assert "a running container has mounted another file over '/etc/hosts'" in answer.stderr
    assert file.read_text() == "old\n"


HIDE = """\
import ctypes, os, sys, threading, time
def stay():
    time.sleep(0.3)
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)
if sys.argv[1] == "another root directory":
    if os.fork() == 0:
        stay()
    os.chroot("/proc/self/fdinfo")
    time.sleep(60)
threading.Thread(target=stay).start()
ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)
"""


def test_only_the_tables_of_a_user_whose_table_takes_long_to_read_are_ignored(container, image, monkeypatch):
    """A stack of 20,000 mounts in five namespaces of an ordinary user used up the time of apply."""
    a_target(image, "/etc/hosts")
    processes = [container(SCRIPTS["only the file"], "/etc/hosts") for _ in range(3)]
    users = dict(zip(map(str, processes), (b"1000", b"1000", b"1001"), strict=True))
    read = []
    table = mounts_elsewhere._table
    monkeypatch.setattr(mounts_elsewhere, "MOST_SECONDS", 0)
    monkeypatch.setattr(mounts_elsewhere, "_other_namespaces", lambda: iter(users))
    monkeypatch.setattr(mounts_elsewhere, "_user", users.__getitem__)
    monkeypatch.setattr(mounts_elsewhere, "_table", lambda process: read.append(process) or table(process))
    mounts_elsewhere.places_of_mounts([b"hosts"])
    first, _, third = users
    assert read == [first, third]
    monkeypatch.setattr(mounts_elsewhere, "_user", lambda process: b"0")
    mounts_elsewhere.places_of_mounts([b"hosts"])
    assert read == [first, third, *users]


def test_the_table_of_a_process_is_read_in_pieces(monkeypatch):
    whole = Path("/proc/self/mountinfo").read_bytes()
    monkeypatch.setattr(mounts_elsewhere, "PIECE", 256)
    assert mounts_elsewhere._table("self") == (whole, False)
    monkeypatch.setattr(mounts_elsewhere, "MOST_SECONDS", 0)
    part, is_slow = mounts_elsewhere._table("self")
    assert is_slow and whole.startswith(part) and len(part) <= 256
    assert mounts_elsewhere._user("self") == b"%d" % os.getuid()


def test_the_mounts_of_apply_itself_are_read_once(container, image, monkeypatch, tmp_path):
    a_target(image, "/etc/hosts")
    (tmp_path / "rootfs/etc/other").touch()
    read = []
    table = mounts_elsewhere._table
    monkeypatch.setattr(mounts_elsewhere, "_table", lambda process: read.append(process) or table(process))
    own = {}
    with Root(str(tmp_path / "rootfs")) as root:
        places = [mounts_elsewhere._place(f"/etc/{name}", root, own) for name in ("hosts", "other")]
    assert [path.rpartition(b"/")[2] for _, path in places] == [b"hosts", b"other"]
    assert read == ["self"]


def test_the_kernel_removes_the_mount_of_a_container_over_a_replaced_file(container, image):
    """The reason for the check."""
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


def test_a_mount_over_a_file_with_the_same_path_in_another_container_is_no_obstacle(
    container, image, tmp_path
):
    file = a_target(image, "/etc/hosts")
    (tmp_path / "rootfs").rename(tmp_path / "first")
    process = container(SCRIPTS["only the file"].replace('"$1$2"', f'"{tmp_path}/first$2"'), "/etc/hosts")
    a_target(image, "/etc/hosts")
    assert apply(image).returncode == 0
    assert file.read_text() == "new\n"
    assert seen_by(process, tmp_path / "first/etc/hosts") == "of the container\n"


@pytest.mark.parametrize("is_changed", [False, True])
def test_both_checks_of_keep_modified_and_of_mounts_run(container, image, tmp_path, is_changed):
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


def test_a_mounted_file_is_written_in_place_although_other_namespaces_mount_it_too(
    container, image, mounts, tmp_path
):
    file = a_target(image, "/etc/hosts")
    mounts.bind(tmp_path / "other", file)
    process = container("echo ready; read end", "/etc/hosts")
    answer = apply(image, "--cross-mounts")
    assert answer.returncode == 0, answer
    assert seen_by(process, file) == (tmp_path / "other").read_text() == "new\n"


def test_the_rest_of_a_huge_table_of_mounts_is_ignored(monkeypatch):
    monkeypatch.setattr(mounts_elsewhere, "MAX_TABLE", 40)
    assert len(mounts_elsewhere._table("self")[0]) == 40
    assert not mounts_elsewhere._parsed(b"22 1 0:20 / /proc")
