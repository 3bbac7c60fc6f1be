"""Attacks through the target path of a rule and the entries at it: cases 1 to 4, 12 to 30, 80 and 94."""

import contextlib
import ctypes
import mmap
import os
import signal
import socket
import stat
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from templater.model.errors import InputError, RefusedError, WriteError
from templater.planning.decide_changes import FAILED, SKIP
from templater.rootfs.confined_directory import Directory
from templater.rootfs.confined_root import Root
from templater.writing import remove_leftovers, transaction
from templater.writing.apply_plan import apply
from templater.writing.remove_leftovers import PREFIX, Journal
from tests.attacks.outside import between
from tests.rootfs_builders import MECHANISMS, a_directory, a_plan, a_rule, as_root, opened, snapshot, strays


@pytest.mark.parametrize(
    "path", ["../../etc/cron.d/x", "/../x", "a/../../x", "/etc/../../host/canary", "/a/b/../../../x"]
)
def test_attack_01_target_is_refused_if_dot_dot_leaves_the_root(scene, path):
    scene.refuses({path: "x"}, RefusedError, r"leaves the root filesystem by '\.\.'")


@pytest.mark.parametrize("path", ["", "/", ".", "/.", "//", "/etc/..", "a/.."])
def test_attack_02_the_root_is_refused_as_target(scene, path):
    scene.refuses({path: "x"}, RefusedError, "is the root directory itself")


@pytest.mark.parametrize(
    "path", ["etc/hosts", "//etc//hosts", "/etc/./hosts", "/etc/hosts/", "/no/../etc/hosts"]
)
def test_attack_02_a_target_path_is_normalised_as_in_the_daemons(scene, path):
    scene.write({path: "new"})
    assert scene.text("etc/hosts") == "new"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/etc/x\0y", "NUL"),
        ("/" + "a/" * 2500, "is too long"),
        ("/" + "n" * 256, "is too long"),
    ],
)
def test_attack_03_a_nul_or_overlong_target_is_refused(scene, path, says):
    scene.refuses({path: "x"}, RefusedError, says)


@pytest.mark.parametrize("path", ["/etc/two\nlines", "/etc/\udcff\udcfe", "/etc/\x1b[2Jclear"])
def test_attack_03_an_unusual_byte_is_written_unchanged_and_shown_escaped(scene, path):
    plan = scene.write({path: "new"})
    assert (os.fsencode(scene.top) + path.encode("utf-8", "surrogateescape")) in [
        os.path.join(os.fsencode(scene.top), b"etc", name)
        for name in os.listdir(os.fsencode(scene.top / "etc"))
    ]
    with scene.rootfs() as rootfs:
        os.unlink(os.fsencode(scene.top) + path.encode("utf-8", "surrogateescape"))
        os.mkfifo(os.fsencode(scene.top) + path.encode("utf-8", "surrogateescape"))
        (failed,) = a_plan({path: "x"}, rootfs).failed
    assert failed.error.explain().isprintable() or "\n" not in str(failed.error)
    assert "\x1b" not in failed.error.explain() and plan.failed == []


@pytest.mark.parametrize("path", ["/etc", "/var/", "/etc/."])
def test_attack_04_an_existing_directory_is_refused_as_target(scene, path):
    error = scene.refuses({"/etc/first": "x", path: "x"}, RefusedError, "directory")
    assert path.strip("/.") in error.message


def test_attack_12_an_absolute_symlink_in_a_parent_resolves_inside_the_root(scene):
    scene.link("usr", scene.host)
    scene.write({"/usr/canary": "inside"})
    made = scene.top / str(scene.host).lstrip("/") / "canary"
    assert made.read_text() == "inside"


def test_attack_13_a_relative_symlink_within_the_root_is_followed(scene):
    scene.link("link", "etc")
    scene.link("etc/up", "../var")
    scene.write({"/link/hosts": "new", "/link/up/x": "y"})
    assert (scene.text("etc/hosts"), scene.text("var/x")) == ("new", "y")


@pytest.mark.parametrize("target", ["../../host", "../../../../../../..", "etc/../../../host"])
def test_attack_14_an_escaping_relative_symlink_stops_at_the_root(scene, target):
    """As in a chroot, '..' of the root is the root. templater predicts that the daemons refuse the target."""
    scene.link("way", target)
    scene.write({"/way/canary": "inside"})
    inside = [place for place in scene.top.rglob("canary") if not place.is_symlink()]
    assert [place.read_text() for place in inside] == ["inside"]


@pytest.mark.parametrize("path", ["/loop/x", "/loop", "/ring/x"])
def test_attack_15_a_symlink_loop_is_refused(scene, path):
    scene.link("loop", "loop")
    scene.link("ring", "/pong")
    scene.link("pong", "ring")
    scene.refuses({path: "x"}, RefusedError, "too many symlinks at '/(loop|ring|pong)'")


def test_attack_16_apply_follows_and_keeps_a_symlink_inside_the_root(scene):
    """The list of attacks also asks for an option that disables following.

    The option is unnecessary: a link never leads outside, and ``create_only`` prevents overwriting.
    """
    (scene.top / "run").mkdir()
    scene.link("etc/resolv.conf", "../run/resolv.conf")
    (scene.top / "run/resolv.conf").write_text("old")
    scene.write({"/etc/resolv.conf": "new"})
    assert os.readlink(scene.top / "etc/resolv.conf") == "../run/resolv.conf"
    assert scene.text("run/resolv.conf") == "new"


@pytest.mark.parametrize("target", ["/run/x/resolv.conf", "../../../host/new", "../run/resolv.conf"])
def test_attack_17_apply_creates_the_missing_target_of_a_dangling_symlink(scene, target):
    scene.link("etc/resolv.conf", target)
    scene.write({"/etc/resolv.conf": "new"})
    assert (scene.top / "etc/resolv.conf").is_symlink()
    made = [place for place in scene.top.rglob("*") if place.is_file() and not place.is_symlink()]
    assert [place.read_text() for place in made].count("new") == 1


def test_attack_17_a_create_only_rule_treats_a_dangling_symlink_as_existing(scene):
    scene.link("etc/resolv.conf", "/run/resolv.conf")
    plan = scene.write({"/etc/resolv.conf": "new"}, create_only=True)
    assert [change.action for change in plan.changes] == [SKIP]
    assert not (scene.top / "run").exists()


@as_root
@pytest.mark.parametrize("cross_mounts", [False, True])
def test_attack_18_a_magic_link_of_proc_is_never_followed(scene, mounts, cross_mounts):
    (scene.top / "proc").mkdir()
    mounts.proc(scene.top / "proc")
    before = snapshot(scene.host, times=True)
    for path in ("/proc/self/root" + str(scene.host / "canary"), "/proc/1/cwd/canary", "/proc/self/fd/0"):
        # with mounts crossed, the link's text may be followed inside the root, but never the link itself
        with (
            scene.rootfs(cross_mounts=cross_mounts) as rootfs,
            contextlib.suppress(RefusedError, WriteError, InputError),
        ):
            plan = a_plan({path: "x"}, rootfs, in_place=cross_mounts)
            assert cross_mounts or plan.failed
            apply(plan, rootfs)
        scene.hold(before)
        with scene.rootfs(cross_mounts=True) as rootfs, pytest.raises((RefusedError, InputError)):
            rootfs.root.read(path, 100)


@as_root
@pytest.mark.parametrize("path", ["/mnt/canary", "/mnt/new/x", "/link/canary"])
def test_attack_19_a_bind_mount_of_the_host_is_refused(scene, mounts, path):
    (scene.top / "mnt").mkdir()
    scene.link("link", "mnt")
    mounts.bind(scene.host, scene.top / "mnt")
    with pytest.raises(RefusedError, match=r"'/mnt'.* mount point|mount point '/mnt'"):
        scene.write({path: "x"})


@as_root
def test_attack_19_writing_to_a_mounted_file_system_requires_two_options(scene, mounts):
    """One option allows the plan to write to a mount.

    The second option allows the opened root filesystem to enter the mount.
    """
    (scene.top / "mnt").mkdir()
    mounts.bind(scene.host / "etc", scene.top / "mnt")
    with scene.rootfs(cross_mounts=True) as open_rootfs:
        plan = a_plan({"/mnt/x": "asked for"}, open_rootfs, in_place=True)
        with (
            scene.rootfs() as rootfs,
            pytest.raises(RefusedError, match=r"^'/mnt': '/mnt' is a mount point$") as caught,
        ):
            apply(plan, rootfs)
        assert caught.value.hint == "templater enters a mount point only if crossing mounts is allowed"
        apply(plan, open_rootfs)
    assert (scene.host / "etc/x").read_text() == "asked for"


@pytest.mark.parametrize("journal", [None, ["cc", "/", "/etc"]])
def test_attack_80_a_root_directory_of_millions_of_names_is_never_listed(scene, monkeypatch, journal):
    """overlayfs read 9 million names in 10 seconds, and needed 1.4 GB of kernel memory, at each start."""
    monkeypatch.setattr(remove_leftovers, "MOST_BYTES", 64 << 10)
    number = 0
    while journal is not None and scene.top.stat().st_size <= remove_leftovers.MOST_BYTES:
        (scene.top / f"{number:0200}").touch()
        number += 1
    listed = []
    real = Directory.names_with
    monkeypatch.setattr(
        Directory, "names_with", lambda self, *words: listed.append(self.path) or real(self, *words)
    )
    state = scene.top.parent / "state"
    state.mkdir()
    with Root(str(state)) as folder, folder.directory("/") as directory, scene.rootfs() as rootfs:
        if journal is not None:
            Journal(directory).write(journal)
        for _ in range(2):
            apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs, journal=Journal(directory))
        assert Journal(directory).read() == journal
    assert listed == ([] if journal is None else ["/etc", "/etc"])


def test_attack_20_a_fifo_as_target_is_refused(scene):
    os.mkfifo(scene.top / "etc/fifo")
    scene.refuses({"/etc/fifo": "x"}, RefusedError, "'/etc/fifo' is a fifo")


def test_attack_20_a_fifo_created_after_the_plan_is_refused(scene):
    with scene.rootfs() as rootfs:
        plan = a_plan({"/etc/hosts": "x"}, rootfs)
        with pytest.raises(RefusedError, match=r"^'/etc/hosts' is a fifo, not a regular file$"):
            between(
                scene,
                rootfs,
                plan,
                lambda: (os.unlink(scene.top / "etc/hosts"), os.mkfifo(scene.top / "etc/hosts")),
            )


@as_root
@pytest.mark.parametrize(
    ("kind", "number"), [(stat.S_IFCHR, (1, 3)), (stat.S_IFBLK, (7, 99)), (stat.S_IFCHR, (5, 0))]
)
def test_attack_21_a_device_as_target_is_refused(scene, kind, number):
    (scene.top / "opt").mkdir()
    os.mknod(scene.top / "opt/sda", kind | 0o666, os.makedev(*number))
    scene.refuses({"/opt/sda": "x"}, RefusedError, "'/opt/sda' is a (char|block) device")


def test_attack_22_a_socket_as_target_is_refused(scene, monkeypatch):
    monkeypatch.chdir(scene.top / "var")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
        scene.refuses({"/var/sock": "x"}, RefusedError, "'/var/sock' is a socket")


def test_attack_23_a_hard_link_to_a_host_file_is_replaced(scene):
    os.link(scene.host / "shadow", scene.top / "etc/innocent")
    os.link(scene.top / "etc/keep", scene.top / "var/twin")
    host = (scene.host / "shadow").stat()
    with scene.rootfs() as rootfs:
        apply(a_plan({"/etc/innocent": "x", "/var/twin": "y"}, rootfs), rootfs)
    now = (scene.host / "shadow").stat()
    assert (scene.host / "shadow").read_text() == "root:secret"
    assert (now.st_ino, now.st_mtime_ns, now.st_mode, now.st_nlink) == (
        host.st_ino,
        host.st_mtime_ns,
        host.st_mode,
        1,
    )
    assert (scene.text("etc/innocent"), scene.text("etc/keep"), scene.text("var/twin")) == ("x", "kept", "y")


@as_root
@pytest.mark.parametrize(("flag", "what"), [("i", "etc/hosts"), ("a", "etc/hosts"), ("i", "etc"), ("i", "")])
def test_attack_24_an_immutable_or_append_only_target_is_refused(scene, flag, what):
    place = scene.top / what
    if subprocess.run(["chattr", f"+{flag}", place], check=False, capture_output=True).returncode:
        pytest.skip("NOT RUN: this file system has no such flags")
    try:
        error = scene.refuses(
            {"/var/first": "1", "/etc/hosts": "x", "/etc/new": "y", "/srv/a": "z"},
            WriteError,
            "is (immutable|append-only)",
            6,
        )
        assert f"chattr -{flag}" in error.explain() or what == "etc", "two rules fail there"
    finally:
        subprocess.run(["chattr", f"-{flag}", place], check=True)


@as_root
def test_attack_24_a_read_only_root_filesystem_gives_an_error(scene, mounts):
    mounts.bind(scene.top, scene.top)
    subprocess.run(["mount", "-o", "remount,ro,bind", scene.top], check=True)
    error = scene.refuses({"/var/first": "1", "/etc/hosts": "x"}, WriteError, "read-only file system", 6)
    assert "mount it writable" in error.hint


@pytest.mark.parametrize("place", ["dev", "proc", "sys"])
def test_attack_25_the_plan_says_that_a_container_mount_usually_hides_the_target(scene, place):
    """The plan has no note for /run: images write to /run, and not every container has a mount there."""
    plan = scene.write({f"/{place}/x": "y"})
    assert "a mount usually hides this file" in plan.changes[0].reason


@as_root
@pytest.mark.parametrize("place", ["dev", "proc", "sys", "run"])
def test_attack_25_a_target_on_an_active_mount_is_refused(scene, mounts, place):
    (scene.top / place).mkdir()
    mounts.tmpfs(scene.top / place)
    with pytest.raises(RefusedError, match="mount point"):
        scene.write({f"/{place}/x": "y"})
    assert os.listdir(scene.top / place) == []


@pytest.mark.parametrize("path", ["/etc/hosts/x", "/etc/hosts/x/y"])
def test_attack_26_a_file_in_place_of_a_parent_directory_is_refused(scene, path):
    scene.refuses({path: "x"}, RefusedError, "'/etc/hosts' is a file, not a directory")


@pytest.mark.parametrize("swapped", ["/srv", "/srv/a", "/srv/a/b"])
def test_attack_27_apply_refuses_a_parent_directory_replaced_between_mkdir_and_open(
    scene, monkeypatch, swapped
):
    """As soon as the new directory has its name, an attacker moves it away and puts a link at its path."""
    real = Directory.rename

    def rename(self: Directory, name: str, to: Directory, new: str) -> None:
        real(self, name, to, new)
        if to.path_of(new) == swapped:
            os.rename(new, "moved", src_dir_fd=to.fd, dst_dir_fd=to.fd)
            os.symlink(scene.host, new, dir_fd=to.fd)

    monkeypatch.setattr(Directory, "rename", rename)
    with pytest.raises(RefusedError, match=f"'{swapped}' is a symlink, not a directory"):
        scene.write({"/srv/a/b/canary": "x"})


@pytest.mark.parametrize("bait", ["link out", "other file", "fifo", "gone"])
def test_attack_29_apply_refuses_a_staged_file_replaced_by_another_process(scene, monkeypatch, bait):
    real = Directory.rename_held

    def rename(self: Directory, name: str, to: Directory, new: str) -> None:
        if name.startswith(PREFIX) and new == "hosts":
            os.unlink(name, dir_fd=self.fd)
            if bait == "link out":
                os.symlink(scene.host / "canary", name, dir_fd=self.fd)
            elif bait == "other file":
                os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=self.fd))
            elif bait == "fifo":
                os.mkfifo(name, dir_fd=self.fd)
        real(self, name, to, new)

    monkeypatch.setattr(Directory, "rename_held", rename)
    with pytest.raises((RefusedError, WriteError), match=r"another process replaced|no such file"):
        scene.write({"/etc/hosts": "new", "/etc/new": "x"})
    assert not (scene.top / "etc/new").exists()


@pytest.mark.parametrize(
    "files",
    [
        [("/etc/x", b"1"), ("//etc/./x", b"2")],
        [("/link/x", b"1"), ("/etc/x", b"2")],
        [("/new", b"1"), ("/new/x", b"2")],
        [("/new/x", b"1"), ("/new", b"2")],
    ],
)
def test_attack_30_two_rules_with_the_same_target_are_refused(scene, files):
    scene.link("link", "etc")
    with scene.rootfs() as rootfs:
        plan = a_plan([(a_rule(path), content) for path, content in files], rootfs)
        assert {change.action for change in plan.changes} == {FAILED}
        assert all(path in plan.failed[0].error.explain() for path, _ in files)
        before = snapshot(scene.top, times=True)
        with pytest.raises(type(plan.failed[0].error)):
            apply(plan, rootfs)
    assert snapshot(scene.top, times=True) == before


#: x86_64's number of the system call userfaultfd, and its requests UFFDIO_API and UFFDIO_REGISTER
USERFAULTFD, UFFDIO_API, UFFDIO_REGISTER = 323, 0xC018AA3F, 0xC020AA00
#: the request FS_IOC_FIEMAP
FIEMAP = 0xC020660B


def list_extents_into_memory_that_never_answers(path: Path) -> None:
    """Let the kernel list the extents of a file. Each access to the memory for this list waits without end."""
    libc, page = ctypes.CDLL(None, use_errno=True), mmap.PAGESIZE
    memory = mmap.mmap(-1, 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    memory[page - 32 : page] = struct.pack("<QQIIII", 0, 2**64 - 1, 0, 0, 10, 0)
    faults = libc.syscall(USERFAULTFD, os.O_CLOEXEC)
    libc.ioctl(faults, ctypes.c_ulong(UFFDIO_API), struct.pack("<QQQ", 0xAA, 0, 0))
    libc.ioctl(faults, ctypes.c_ulong(UFFDIO_REGISTER), struct.pack("<QQQQ", start + page, page, 1, 0))
    libc.ioctl(os.open(path, os.O_RDONLY), ctypes.c_ulong(FIEMAP), ctypes.c_void_p(start + page - 32))


@contextlib.contextmanager
def locked_by_a_reader(path: Path) -> Iterator[None]:
    """Let another process hold the kernel's lock of a file, although it can only read the file."""
    child = os.fork()
    if not child:
        try:
            list_extents_into_memory_that_never_answers(path)
        finally:
            os._exit(0)
    try:
        end = time.monotonic() + 5
        while "userfault" not in Path(f"/proc/{child}/stack").read_text():
            if time.monotonic() > end:
                pytest.skip("NOT RUN: needs userfaultfd of x86_64")
            time.sleep(0.01)
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.slow
@as_root
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("links", [1, 2])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_attack_94_a_reader_does_not_delay_replacing_a_file(
    tmp_path, mounts, mechanism, links, fails, monkeypatch
):
    """On btrfs, the kernel copied an old file at its renaming, and waited for a lock of the file.

    A process of another container with the same lower layer can hold this lock.
    """
    place = mounts.btrfs(tmp_path)
    folders = [place / name for name in ("lower", "upper", "work", "merged")]
    lower, upper, _, merged = folders
    for folder in folders:
        folder.mkdir()
    a_directory(lower, {"etc/hosts": "old\n" * 5000, "etc/keep": "same"})
    if links == 2:
        os.link(lower / "etc/hosts", lower / "etc/other")
    mounts.overlay(*folders, "index=off")
    if fails:
        monkeypatch.setattr(transaction.Transaction, "_sync_names", lambda *_: os.close(-1))
    with opened(merged, mechanism) as rootfs:
        plan = a_plan({"/etc/hosts": "new"}, rootfs)
        with locked_by_a_reader(lower / "etc/hosts"):
            child = os.fork()
            if not child:
                try:
                    apply(plan, rootfs)
                finally:
                    os._exit(0)
            end = time.monotonic() + 20
            while not (ended := os.waitpid(child, os.WNOHANG)[0]) and time.monotonic() < end:
                time.sleep(0.01)
        if not ended:
            os.waitpid(child, 0)
    assert ended
    assert (merged / "etc/hosts").read_text() == ("old\n" * 5000 if fails else "new")
    assert sorted(os.listdir(upper / "etc")) == ["hosts"]
    assert strays(merged) == []
