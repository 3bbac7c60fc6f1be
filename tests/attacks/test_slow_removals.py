"""Files that are slow to read, to write or to remove, in commands."""

import errno
import os
import subprocess
import sys
from functools import partialmethod
from pathlib import Path
from time import monotonic

import pytest

from templater import oslite
from templater.cli.run_command_line import main
from templater.rootfs import close_in_another_process, confined_directory, directory_rootfs, regular_files
from templater.writing import transaction

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs O_PATH")

LARGE = 1 << 20


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/a.tpl").write_text("text\n")
    (tmp_path / "metadata.yaml").write_text("templates: {/etc/a: {when: [start], template: a.tpl}}\n")
    (tmp_path / ".templater").mkdir(mode=0o700)
    return tmp_path


@pytest.fixture
def handed_over(monkeypatch) -> "set[int]":
    """Return the inode numbers of the removed files and directories that another process closes."""
    found: set[int] = set()
    hand_over = close_in_another_process._hand_over

    def recorded(held, patience):
        found.update(os.fstat(fd).st_ino for fd in held if not os.fstat(fd).st_nlink)
        found.update(os.stat(name, dir_fd=fd).st_ino for fd, name in close_in_another_process._doomed or ())
        hand_over(held, patience)

    monkeypatch.setattr(close_in_another_process, "_hand_over", recorded)
    return found


def make_large(path: Path, size: int = LARGE) -> int:
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.truncate(path, size)
    return path.stat().st_ino


@pytest.mark.parametrize("name", ["target", "written", "written.new"])
def test_attack_83_apply_does_not_wait_until_removed_files_are_freed(machine, handed_over, name):
    """An empty file with 150,000 attributes took 20 seconds to remove."""
    path = machine / "rootfs/etc/a" if name == "target" else machine / ".templater" / name
    inode = make_large(path)
    assert main(["apply", str(machine), f"{machine}/rootfs", "-t", "start"]) == 0
    assert (machine / "rootfs/etc/a").read_text() == "text\n"
    assert inode in handed_over


def test_attack_83_apply_does_not_wait_while_leftover_files_are_removed(machine, handed_over):
    (machine / ".templater").rmdir()  # without a record of finished runs, apply always searches
    inode = make_large(machine / "rootfs/file")
    (machine / "rootfs/file").rename(machine / f"rootfs/.templater-x-{inode}-1")
    assert main(["apply", str(machine), f"{machine}/rootfs", "-t", "start"]) == 0
    assert os.listdir(machine / "rootfs") == ["etc"]
    assert handed_over == {inode}


@pytest.fixture
def removals(machine, monkeypatch):
    """Return a function that tells which process has removed each directory."""
    log, rmdir = machine / "removals", oslite.os.rmdir

    def recorded(name, **options):
        rmdir(name, **options)
        with log.open("a") as file:
            file.write(f"{name} {'parent' if os.getpid() == parent else 'child'}\n")

    parent = os.getpid()
    log.touch()
    monkeypatch.setattr(oslite.os, "rmdir", recorded)
    return lambda: dict(line.split() for line in log.read_text().splitlines())


def test_attack_83_apply_does_not_wait_while_leftover_directories_are_removed(machine, removals):
    """A process had looked up 4 million missing names in a directory: its removal took 7 seconds."""
    (machine / ".templater").rmdir()  # without a record of finished runs, apply always searches
    for name in (".templater-x-0-1", ".templater-y-0-0", "etc/.templater-x-0-0"):
        (machine / "rootfs" / name).mkdir()
    assert main(["apply", str(machine), f"{machine}/rootfs", "-t", "start"]) == 0
    assert (os.listdir(machine / "rootfs"), os.listdir(machine / "rootfs/etc")) == (["etc"], ["a"])
    assert removals() == dict.fromkeys([".templater-x-0-0", ".templater-x-0-1", ".templater-y-0-0"], "child")


def test_attack_83_apply_does_not_wait_while_new_directories_are_removed(machine, removals, monkeypatch):
    (machine / "metadata.yaml").write_text("templates: {/new/b/a: {when: [start], template: a.tpl}}\n")

    def fails(*_):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(transaction.Transaction, "_sync_names", fails)
    assert main(["apply", str(machine), f"{machine}/rootfs", "-t", "start"]) == 6
    assert os.listdir(machine / "rootfs") == ["etc"]
    assert removals() == {"b": "child", "new": "child"}


@pytest.mark.parametrize("name", ["state.new", "written"])
def test_attack_83_the_trigger_command_does_not_wait_for_slow_removals(machine, handed_over, name):
    inode = make_large(machine / ".templater" / name)
    assert main(["trigger", str(machine), "create"]) == 0
    assert handed_over == {inode}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("command", ["apply", "status"])
def test_attack_86_another_process_closes_a_template_that_is_removed_during_reading(
    machine, handed_over, monkeypatch, command
):
    template = machine / "templates/a.tpl"
    os.chown(template, 1234, 1234)
    inode = template.stat().st_ino
    read, removed = regular_files.read_descriptor, []

    def slow(fd, *arguments):
        if os.fstat(fd).st_ino == inode and not removed:
            template.unlink()
            removed.append(inode)
        return read(fd, *arguments)

    monkeypatch.setattr(regular_files, "read_descriptor", slow)
    rootfs = (f"{machine}/rootfs",) if command == "apply" else ()
    main([command, str(machine), *rootfs, "-t", "start"])
    assert removed == [inode]
    assert inode in handed_over


#: A command whose error keeps a directory open until the process ends.
LEAVING_OPEN = """
import os, sys
from templater import __main__
from templater.cli import run_command_line
from templater.rootfs import close_in_another_process
def leave_open():
    fd = os.open(sys.argv[1], os.O_RDONLY)
    os.rmdir(sys.argv[1])
    return 3
run_command_line.main = leave_open
close_in_another_process._hand_over = lambda held, _: print([os.fstat(fd).st_nlink for fd in held])
sys.exit(__main__.main())
"""


def test_attack_86_another_process_closes_a_directory_left_open_by_a_command(tmp_path):
    """The last process that closes a removed directory waits until the kernel has freed it.

    With 150,000 attributes, the end of ``publish`` took 2 seconds.
    """
    (tmp_path / "folder").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", LEAVING_OPEN, tmp_path / "folder"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "[0]\n", "")


@pytest.mark.parametrize("command", ["apply", "status"])
def test_attack_87_a_target_of_a_different_size_is_not_read(machine, monkeypatch, command):
    """Eight targets of 8 MiB, each of which the kernel decompresses 32 times, took 12 seconds."""
    sizes = pieces_read(monkeypatch, machine / "rootfs/etc/a", "longer than the new text\n")
    rootfs = (f"{machine}/rootfs",) if command == "apply" else ()
    assert main([command, str(machine), *rootfs, "-t", "start"]) == 0
    assert sizes == []


def pieces_read(monkeypatch, path: Path, text: str, *, seconds: float = 0) -> "list[int]":
    """Create a file for which each read of a piece takes ``seconds``. Return the sizes of the pieces read."""
    path.write_text(text)
    inode = path.stat().st_ino
    read, sizes = os.read, []

    def recorded(fd, size):
        chunk = read(fd, size)
        if os.fstat(fd).st_ino == inode:
            sizes.append(len(chunk))
        return chunk

    monkeypatch.setattr(oslite.os, "read", recorded)
    for module in (directory_rootfs, transaction):
        monkeypatch.setattr(module, "monotonic", lambda: monotonic() + seconds * len(sizes))
    return sizes


LONG = 3 << 20


@pytest.mark.slow
@pytest.mark.parametrize("command", ["apply", "status", "preview"])
def test_attack_87_reading_a_target_stops_at_its_first_difference(machine, monkeypatch, command):
    """The image's author knows the size of the text, so targets of the same size also took 12 seconds."""
    (machine / "templates/a.tpl").write_text("x" * LONG)
    sizes = pieces_read(monkeypatch, machine / "rootfs/etc/a", "x" + "y" * (LONG - 1))
    rootfs = (f"{machine}/rootfs",) if command == "apply" else ()
    assert main([command, str(machine), *rootfs, "-t", "start"]) == 0
    assert sizes[0] <= 1 << 16
    most = LONG if command == "preview" else 2 << 16  # a patch needs the whole file
    assert sum(sizes) <= sizes[0] + most


@pytest.mark.parametrize("last", ["x", "y"])
def test_attack_87_apply_changes_no_file_if_comparison_takes_too_long(machine, monkeypatch, capsys, last):
    (machine / "templates/a.tpl").write_text("x" * LONG)
    text = "x" * (LONG - 1) + last
    sizes = pieces_read(monkeypatch, machine / "rootfs/etc/a", text, seconds=10)
    assert main(["apply", str(machine), f"{machine}/rootfs", "-t", "start"]) == 4
    assert "takes longer than 8.0 s" in capsys.readouterr().err
    assert sum(sizes) < LONG
    assert (machine / "rootfs/etc/a").read_text() == text


def test_attack_89_apply_ends_in_time_if_creating_files_is_slow(machine, monkeypatch, capsys):
    """The container's root had set the flags S and D with chattr.

    `apply` of 1,000 tiny files took 72 seconds.
    """
    names = [f"/etc/{number}" for number in range(40)]
    rules = "".join(f"  {name}: {{when: [start], template: a.tpl}}\n" for name in names)
    (machine / "metadata.yaml").write_text(f"templates:\n{rules}")
    waited = 0.0

    def slow(self, *arguments, call):
        nonlocal waited
        waited += 1.0
        return call(self, *arguments)

    monkeypatch.setattr(transaction, "monotonic", lambda: monotonic() + waited)
    for name in ("create_unnamed", "name_unnamed", "unlink"):
        call = partialmethod(slow, call=getattr(confined_directory.Directory, name))
        monkeypatch.setattr(confined_directory.Directory, name, call)
    words = ["apply", str(machine), f"{machine}/rootfs", "-t", "start", "--limit", "command-time=1m"]
    assert main(words) == 4
    assert "preparing all files takes longer than 1" in capsys.readouterr().err
    assert os.listdir(machine / "rootfs/etc") == []
    assert waited < 60


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_attack_83_apply_does_not_wait_while_many_attributes_are_removed(
    machine, handed_over, mounts, tmp_path, kind
):
    place = mounts.btrfs(tmp_path)
    (machine / ".templater/journal").write_text("0123456789ab-1\0/")
    leftover = place / ".templater-0123456789ab-0-1"
    if kind == "file":
        leftover.touch()
    else:
        leftover.mkdir()
    for number in range(10):
        os.setxattr(leftover, f"user.{number}", b"x" * 1000)
    inode = leftover.stat().st_ino
    assert main(["apply", str(machine), str(place), "-t", "start"]) == 0
    assert not leftover.exists()
    assert inode in handed_over
