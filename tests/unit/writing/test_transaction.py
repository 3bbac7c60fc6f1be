"""Writing: each row of the guarantees in the README, with both path mechanisms."""

import contextlib
import errno
import fcntl
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from functools import partialmethod
from pathlib import Path

import pytest

from templater import oslite
from templater.model.errors import BusyError, LimitError, RefusedError, UsageError, WriteError
from templater.planning.decide_changes import CREATE, KEEP, SKIP, UPDATE
from templater.rootfs import close_in_another_process, disk_sync
from templater.rootfs.confined_directory import Directory
from templater.rootfs.confined_root import Root
from templater.rootfs.directory_rootfs import DirectoryRootfs
from templater.rootfs.id_map import IdMap
from templater.rootfs.paths import SlowError
from templater.writing import apply_locks as lock_module
from templater.writing import (
    apply_plan,
    attributes,
    remove_leftovers,
    staged_file,
    target_directories,
    transaction,
)
from templater.writing.apply_locks import lock
from templater.writing.apply_plan import apply
from templater.writing.remove_leftovers import PREFIX, Journal
from templater.writing.staged_file import StagedFile
from templater.writing.target_directories import TargetDirectories
from templater.writing.transaction import Transaction
from tests.rootfs_builders import MECHANISMS, a_directory, a_plan, a_rule, as_root, opened, snapshot, strays

REPOSITORY = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="writing needs descriptors")


CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00" + bytes(12)  # cap_net_bind_service, permitted
ACL = bytes.fromhex(
    "02000000 01000600ffffffff 0200060021000000 04000400ffffffff 10000600ffffffff 20000000ffffffff"
)
#: attributes that an existing file keeps
KEPT = {"user.note": b"kept", "trusted.note": b"kept", "system.posix_acl_access": ACL}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return a_directory(tmp_path / "root", {"etc/hosts": "old", "etc/keep": "same", "var": None})


@pytest.fixture(params=MECHANISMS)
def rootfs(request: pytest.FixtureRequest, top: Path) -> Iterator[DirectoryRootfs]:
    with opened(top, request.param) as rootfs:
        yield rootfs


def test_new_file_has_the_mode_of_its_rule(rootfs, top):
    written = apply(a_plan({"/srv/a/b": "text"}, rootfs, mode="0640"), rootfs)
    assert [change.action for change in written] == [CREATE]
    assert (top / "srv/a/b").read_text() == "text"
    assert mode(top / "srv/a/b") == 0o640
    assert mode(top / "srv") == mode(top / "srv/a") == 0o755
    assert strays(top) == []


@as_root
def test_a_new_file_gets_the_uid_and_gid_of_its_rule(rootfs, top):
    apply(a_plan({"/srv/x": "text"}, rootfs, uid="33", gid="44"), rootfs)
    assert owner(top / "srv/x") == (33, 44)
    assert owner(top / "srv") == (0, 0)


@as_root
def test_apply_maps_owners_of_files_to_host_ids(top):
    os.chown(top, 100000, 200000)
    for path in top.rglob("*"):
        os.chown(path, 100000, 200000)
    ids = IdMap(((0, 100000, 1000),), ((0, 200000, 1000),))
    with DirectoryRootfs(str(top), ids) as rootfs:
        assert rootfs.entry("/etc/hosts").uid == 0
        apply(a_plan({"/srv/x": "text", "/etc/hosts": "new"}, rootfs, uid="33", gid="44"), rootfs)
    assert owner(top / "srv/x") == (100033, 200044)
    assert owner(top / "srv") == (100000, 200000)
    assert owner(top / "etc/hosts") == (100000, 200000)


@as_root
def test_apply_shifts_owners_by_uid_of_the_root_directory(top):
    os.chown(top, 100000, 100000)
    with DirectoryRootfs(str(top)) as rootfs:
        apply(a_plan({"/srv/x": "text"}, rootfs, uid="5"), rootfs)
    assert owner(top / "srv/x") == (100005, 100000)


@pytest.mark.parametrize("mask", [0, 0o077, pytest.param(0o777, marks=as_root)])
def test_the_umask_does_not_change_the_written_modes(rootfs, top, mask):
    before = os.umask(mask)
    try:
        apply(a_plan({"/srv/deep/x": "text", "/etc/hosts": "new"}, rootfs, mode="0666"), rootfs)
    finally:
        os.umask(before)
    assert (mode(top / "srv/deep"), mode(top / "srv/deep/x"), mode(top / "etc/hosts")) == (
        0o755,
        0o666,
        0o644,
    )


def test_apply_replaces_an_existing_file_and_keeps_its_mode(rootfs, top):
    (top / "etc/hosts").chmod(0o600)
    held = (top / "etc/hosts").open()
    written = apply(a_plan({"/etc/hosts": "new"}, rootfs, mode="0777"), rootfs)
    assert [change.action for change in written] == [UPDATE]
    assert (top / "etc/hosts").read_text() == "new"
    assert mode(top / "etc/hosts") == 0o600
    assert held.read() == "old"  # an open descriptor still reads the old content
    assert strays(top) == []


@as_root
def test_apply_keeps_the_owner_of_an_existing_file(rootfs, top):
    os.chown(top / "etc/hosts", 7, 8)
    (top / "etc/hosts").chmod(0o4755)
    apply(a_plan({"/etc/hosts": "new"}, rootfs, uid="1", gid="2"), rootfs)
    assert owner(top / "etc/hosts") == (7, 8)
    assert mode(top / "etc/hosts") == 0o4755  # as if the daemon had written it as root


@as_root
def test_apply_copies_extended_attributes_and_acls_but_never_capabilities(rootfs, top):
    for name, value in {**KEPT, "security.capability": CAPABILITY}.items():
        os.setxattr(top / "etc/hosts", name, value)
    apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs)
    assert {name: os.getxattr(top / "etc/hosts", name) for name in os.listxattr(top / "etc/hosts")} == KEPT
    assert mode(top / "etc/hosts") == 0o660  # the middle digit is the mask of the ACL


def test_apply_does_not_touch_a_file_with_equal_content(rootfs, top):
    before = snapshot(top, times=True)
    assert apply(a_plan({"/etc/hosts": "old", "/etc/keep": "same"}, rootfs), rootfs) == []
    assert snapshot(top, times=True) == before


def test_apply_keeps_the_content_of_another_hard_link(rootfs, top):
    os.link(top / "etc/hosts", top / "var/twin")
    apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs)
    assert (top / "var/twin").read_text() == "old"
    assert (top / "var/twin").stat().st_nlink == 1


def test_apply_follows_a_symlink_inside_the_root_and_keeps_the_symlink(rootfs, top):
    (top / "etc/resolv.conf").symlink_to("/var/resolv.conf")
    (top / "link").symlink_to("/etc")
    apply(a_plan({"/etc/resolv.conf": "ns", "/link/hosts": "new"}, rootfs), rootfs)
    assert (top / "etc/resolv.conf").is_symlink()
    assert (top / "var/resolv.conf").read_text() == "ns"
    assert (top / "etc/hosts").read_text() == "new"


def test_after_an_apply_a_new_plan_has_nothing_to_write(rootfs, top):
    files = {"/etc/hosts": "new", "/srv/x": "y", "/etc/keep": "same"}
    apply(a_plan(files, rootfs), rootfs)
    before = snapshot(top, times=True)
    again = a_plan(files, rootfs)
    assert {change.action for change in again.changes} == {KEEP}
    assert apply(again, rootfs) == []
    assert snapshot(top, times=True) == before


def test_a_create_only_rule_skips_every_existing_entry(rootfs, top):
    (top / "etc/dangling").symlink_to("/nowhere/x")
    plan = a_plan({"/etc/hosts": "new", "/etc/dangling": "new"}, rootfs, create_only=True)
    assert [change.action for change in plan.changes] == [SKIP, SKIP]
    assert apply(plan, rootfs) == []
    assert (top / "etc/hosts").read_text() == "old"


def test_a_plan_with_a_failed_rule_writes_nothing(rootfs, top):
    os.mkfifo(top / "etc/fifo")
    before = snapshot(top, times=True)
    with pytest.raises(RefusedError, match=r"^'/etc/fifo' is a fifo, not a regular file$") as caught:
        apply(a_plan({"/etc/new": "x", "/etc/fifo": "y"}, rootfs), rootfs)
    assert caught.value.hint == "LXD and Incus may write into this file, or hang"
    assert snapshot(top, times=True) == before


def test_apply_refuses_a_plan_without_a_root_filesystem(rootfs):
    with pytest.raises(
        UsageError, match=r"^a plan that was made without a root filesystem can't be applied$"
    ):
        apply(a_plan({"/etc/new": "x"}, None), rootfs)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda top: (top / "etc/hosts").unlink(), "was removed"),
        (lambda top: os.replace(top / "etc/keep", top / "etc/new"), "has appeared"),
        (lambda top: swap_for(top / "etc/hosts", lambda path: path.symlink_to("keep")), "is a symlink"),
        (lambda top: swap_for(top / "etc/hosts", os.mkfifo), "is a fifo"),
        (lambda top: swap_for(top / "etc/hosts", Path.mkdir), "is a directory"),
        (lambda top: (os.rename(top / "etc", top / "e"), (top / "etc").symlink_to("e")), "is a symlink"),
        (lambda top: (top / "srv").write_text("x"), "has become a file"),
        (lambda top: (top / "srv").symlink_to("var"), "has become a symlink"),
    ],
)
def test_apply_writes_nothing_if_a_file_was_changed_after_planning(rootfs, top, change, says):
    plan = a_plan({"/var/first": "1", "/etc/hosts": "new", "/etc/new": "n", "/srv/a/x": "x"}, rootfs)
    change(top)
    before = snapshot(top)
    with pytest.raises(RefusedError, match=says):
        apply(plan, rootfs)
    assert snapshot(top) == before


def test_apply_accepts_a_target_that_already_has_the_planned_content(rootfs, top):
    plan = a_plan({"/etc/hosts": "new", "/etc/new": "n"}, rootfs)
    (top / "etc/hosts").write_text("new")
    (top / "etc/new").write_text("n")
    assert apply(plan, rootfs) == []


@pytest.mark.parametrize("failing", ["rename_held", "link", "name_unnamed"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_apply_rolls_back_all_files_after_a_failed_write(rootfs, top, monkeypatch, failing, after):
    calls = []
    real = getattr(Directory, failing)

    def fail(self: Directory, *arguments: object) -> None:
        to = next((a for a in arguments if isinstance(a, Directory)), self)
        if str(arguments[-1]).startswith(PREFIX) or to.path == "/":
            real(self, *arguments)
            return
        calls.append(arguments)
        if len(calls) == after + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, *arguments)

    files = {"/etc/hosts": "new", "/etc/keep": "newer", "/var/a": "a", "/var/b/c": "b", "/srv/x/y": "z"}
    plan = a_plan(files, rootfs)
    before = snapshot(top)
    monkeypatch.setattr(Directory, failing, fail)
    if failing == "link":
        monkeypatch.setattr(oslite.os, "O_TMPFILE", 0, raising=False)  # so that files have names to link
    try:
        apply(plan, rootfs)
    except WriteError as error:
        assert "no space left" in error.message
        assert "free some space" in error.hint
        assert snapshot(top) == before
    else:
        assert len(calls) <= after


def test_apply_writes_same_files_without_support_for_unnamed_files(rootfs, top, monkeypatch):
    def unsupported(self: Directory) -> int:
        raise OSError(errno.EOPNOTSUPP, "no such thing")

    monkeypatch.setattr(Directory, "create_unnamed", unsupported)
    apply(a_plan({"/etc/hosts": "new", "/srv/x": "y"}, rootfs), rootfs)
    assert ((top / "etc/hosts").read_text(), (top / "srv/x").read_text()) == ("new", "y")
    assert (top / "srv/x").stat().st_nlink == 1
    assert strays(top) == []


def test_apply_continues_after_a_short_write(rootfs, top, monkeypatch):
    real = oslite.os.write
    monkeypatch.setattr(oslite.os, "write", lambda fd, data: real(fd, data[:3]))
    apply(a_plan({"/etc/hosts": "a long text in small pieces"}, rootfs), rootfs)
    assert (top / "etc/hosts").read_text() == "a long text in small pieces"


def test_apply_writes_invalid_utf8_bytes_unchanged(rootfs, top):
    apply(a_plan({"/etc/hosts": b"\xff\x00\xfe", "/srv/caf\udce9\n": b"\r\n"}, rootfs), rootfs)
    assert (top / "etc/hosts").read_bytes() == b"\xff\x00\xfe"
    assert os.listdir(os.fsencode(top / "srv")) == [b"caf\xe9\n"]


@pytest.mark.slow
def test_apply_writes_a_thousand_files_with_a_low_descriptor_limit(rootfs, top):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip("NOT RUN: the hard limit of open files is too low")
    held = max(map(int, os.listdir("/proc/self/fd")))  # by all test modules that ran before
    resource.setrlimit(resource.RLIMIT_NOFILE, (held + 100, hard))
    try:
        files = {f"/srv/{n}": str(n) for n in range(1000)}
        assert len(apply(a_plan(files, rootfs), rootfs, durable=False)) == 1000
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# the leftovers of a killed process


def test_apply_removes_leftovers_but_keeps_files_with_similar_names(rootfs, top):
    mine = top / "mine"
    mine.write_text("staged")
    os.rename(mine, top / f"{PREFIX}aa-{mine.stat().st_ino}-1")
    (top / f"{PREFIX}aa-0-2").touch()
    (top / "etc" / f"{PREFIX}aa-0-3").mkdir()
    strangers = {
        f"{PREFIX}aa-1-1": "another inode",
        f"{PREFIX}notes": "a user's own file",
        f"{PREFIX}aa-0-1": "not empty",
    }
    a_directory(top, strangers)
    (top / f"{PREFIX}aa-0-9").symlink_to("etc/hosts")
    (top / f"{PREFIX}bb-0-1").mkdir()
    (top / f"{PREFIX}bb-0-1/full").touch()
    apply(a_plan({"/etc/hosts": "old"}, rootfs), rootfs)
    left = sorted(name for name in os.listdir(top) if name.startswith(PREFIX))
    assert left == sorted([*strangers, f"{PREFIX}aa-0-9", f"{PREFIX}bb-0-1"])
    assert sorted(os.listdir(top / "etc")) == ["hosts", "keep"]


def test_apply_writes_to_a_directory_that_it_cannot_list(rootfs, top, monkeypatch):
    def broken(directory):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    plan = a_plan({"/etc/hosts": "new"}, rootfs)
    monkeypatch.setattr(Directory, "listdir", broken)
    apply(plan, rootfs)
    assert (top / "etc/hosts").read_text() == "new"


def test_the_next_apply_removes_leftovers_in_each_directory_of_the_journal(rootfs, top, tmp_path):
    (tmp_path / "state").mkdir()
    (top / "var" / f"{PREFIX}cc-1-1").write_text("its inode was numbered anew")
    (top / "var" / f"{PREFIX}dd-1-1").write_text("not of that run")
    with Root(str(tmp_path / "state")) as state, state.directory("/") as directory:
        journal = Journal(directory)
        journal.write(["cc", "/var", "/gone"])
        apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs, journal=journal)
        assert journal.read() is None
    assert sorted(os.listdir(top / "var")) == [f"{PREFIX}dd-1-1"]
    assert os.listdir(tmp_path / "state") == []


@as_root
@pytest.mark.parametrize("owner", [0, 1234])  # the backups of another user's files are in a private directory
@pytest.mark.parametrize(("durable", "apart"), [(True, True), (True, False), (False, True)])
def test_removal_of_backup_is_synced_before_removal_of_journal(
    tmp_path, mounts, top, monkeypatch, durable, apart, owner
):
    """A power cut seconds after a first start left old files under temporary names, and no journal."""
    (tmp_path / "state").mkdir()
    if apart:
        mounts.tmpfs(tmp_path / "state")
    steps, real_fsync, real_unlink = [], os.fsync, oslite.os.unlink

    def fsync(fd):
        names = os.listdir(fd) if stat.S_ISDIR(os.fstat(fd).st_mode) else []
        steps.append("sync with backup" if any(PREFIX in name for name in names) else "sync")
        return real_fsync(fd)

    def unlink(name, **options):
        steps.append("remove the journal" if name == "journal" else "remove a backup")
        return real_unlink(name, **options)

    os.chown(top, owner, owner)
    with opened(top, "") as rootfs, Root(str(tmp_path / "state")) as state, state.directory("/") as directory:
        plan = a_plan({"/etc/hosts": "new"}, rootfs)
        monkeypatch.setattr(oslite.os, "fsync", fsync)
        monkeypatch.setattr(oslite.os, "unlink", unlink)
        apply(plan, rootfs, journal=Journal(directory), durable=durable)
    removed = len(steps) - 1 - steps[::-1].index("remove a backup")
    after = steps[removed + 1 : steps.index("remove the journal")]
    assert bool(after) == (durable and apart)
    assert set(after) <= {"sync"}
    assert strays(top) == []


def test_a_journal_can_contain_directory_names_with_invalid_utf_8(tmp_path):
    with Root(str(tmp_path)) as outside, outside.directory("/") as directory:
        journal = Journal(directory)
        journal.write(["cc", "/b\udcff", "/é"])
        assert journal.read() == ["cc", "/b\udcff", "/é"]


def test_a_journal_of_too_many_lines_is_neither_read_nor_written(tmp_path, monkeypatch):
    """A journal with millions of short lines needed 642 MB."""
    monkeypatch.setattr("templater.writing.remove_leftovers.MAX_LINES", 10)
    with Root(str(tmp_path)) as state, state.directory("/") as directory:
        journal = Journal(directory)
        journal.write(["cc"] * 10)
        assert len(journal.read()) == 10
        with pytest.raises(LimitError, match="larger than 16777216 bytes or 10 lines"):
            journal.write(["cc"] * 11)
        (tmp_path / "journal").write_bytes(b"cc\0" * 10)
        with pytest.raises(LimitError, match="journal' has more than 10 lines") as caught:
            journal.read()
        assert caught.value.hint == "remove this file"


def test_no_directory_is_searched_after_a_finished_run(rootfs, top, tmp_path, monkeypatch):
    """A user of the container filled the home directory with millions of names, which delayed each start.

    The container's root user filled the root directory. overlayfs reads all names before the first entry.
    """
    searched = []
    monkeypatch.setattr(
        Directory, "names_with", lambda directory, prefix, most: (searched.append(directory.path) or [], most)
    )
    with Root(str(tmp_path)) as state, state.directory("/") as directory:
        for content in ("new", "newer"):
            apply(a_plan({"/etc/hosts": content}, rootfs), rootfs, journal=Journal(directory))
    assert searched == []
    apply(a_plan({"/etc/hosts": "newest"}, rootfs), rootfs)
    assert searched == ["/", "/etc"]


@pytest.mark.parametrize("number", [errno.EMLINK, errno.EIO])
def test_attack_23_a_target_with_maximum_hard_links_is_refused_with_a_hint(rootfs, top, monkeypatch, number):
    def link(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Directory, "link", link)
    with pytest.raises(LimitError if number == errno.EMLINK else WriteError) as caught:
        apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs)
    if number == errno.EMLINK:
        assert caught.value.message == (
            "'/etc/hosts' has the maximum number of hard links,"
            " so templater can't give the old file a temporary name"
        )
        assert caught.value.hint == "remove one of the other hard links, or the file itself"
    assert (top / "etc/hosts").read_text() == "old"
    assert strays(top) == []


def test_the_search_for_leftovers_reads_a_limited_number_of_names(rootfs, top, tmp_path, monkeypatch):
    """Root of a container filled its root directory with five million names, which delayed each start."""
    monkeypatch.setattr(remove_leftovers, "MOST_NAMES", 20)
    for number in range(50):
        (top / f"{PREFIX}cc-0-{number}").touch()
    (tmp_path / "state").mkdir()
    with Root(str(tmp_path / "state")) as state, state.directory("/") as directory:
        journal = Journal(directory)
        journal.write(["cc", "/var", "/etc"])
        lines = remove_leftovers.sweep(rootfs.root, [], journal)
        assert lines == ["cc", "/var", "/etc"] == journal.read()
        assert len(strays(top)) in range(30, 35)  # the other names have no prefix
        while strays(top):
            before = len(strays(top))
            remove_leftovers.sweep(rootfs.root, [], journal)
            assert len(strays(top)) < before
        assert remove_leftovers.sweep(rootfs.root, [], journal) == []
        assert journal.read() is None


def test_a_finished_run_keeps_the_journal_of_remaining_leftovers(rootfs, top, tmp_path, monkeypatch):
    monkeypatch.setattr(remove_leftovers, "MOST_NAMES", 1)
    leftover = top / f"etc/{PREFIX}cc-0-0"
    leftover.touch()
    (tmp_path / "state").mkdir()
    with Root(str(tmp_path / "state")) as state, state.directory("/") as directory:
        journal = Journal(directory)
        journal.write(["cc", "/etc"])
        apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs, journal=journal)
        assert journal.read() == ["cc", "/etc"]
        monkeypatch.setattr(remove_leftovers, "MOST_NAMES", 100)
        apply(a_plan({"/etc/hosts": "newer"}, rootfs), rootfs, journal=journal)
        assert journal.read() is None
    assert not leftover.exists()


def test_each_directory_is_in_the_journal_only_once(rootfs, tmp_path, monkeypatch):
    monkeypatch.setattr(apply_plan, "sweep", lambda *_, **__: ["cc", "/etc", "/var"])
    monkeypatch.setattr(Transaction, "carry_out", lambda *_: (_ for _ in ()).throw(WriteError("stop")))
    written = []
    monkeypatch.setattr(Journal, "write", lambda _self, lines, **_: written.append(lines))
    with Root(str(tmp_path)) as state, state.directory("/") as directory, pytest.raises(WriteError):
        apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs, journal=Journal(directory))
    announced, remaining = written
    assert [line for line in announced if len(line) < 12] == ["cc", "/etc", "/var"] == remaining


def test_apply_stops_if_a_target_is_edited_meanwhile(rootfs, top, monkeypatch):
    """An editor wrote into the same inode after templater had compared the file with the plan."""
    stage = StagedFile.stage

    def edit_after(target, require_time):
        stage(target, require_time)
        with (top / "etc/hosts").open("a") as file:
            file.write("edited")

    monkeypatch.setattr(StagedFile, "stage", edit_after)
    before = (top / "etc/hosts").read_text()
    with pytest.raises(RefusedError, match=r"^'/etc/hosts' was changed since the plan was made$") as caught:
        apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs)
    assert caught.value.hint == "plan again"
    assert (top / "etc/hosts").read_text() == before + "edited"
    assert strays(top) == []


@pytest.mark.parametrize("name", ["new", "hosts"])
def test_a_written_file_inherits_no_acl_from_its_directory(rootfs, top, name):
    """A user who owns a directory above a target could give it a default ACL, and then read a root file."""
    entries = ((1, 7, -1), (2, 7, 1000), (4, 5, -1), (16, 7, -1), (32, 5, -1))  # the second: user 1000, rwx
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    os.setxattr(top / "etc", "system.posix_acl_default", acl)
    apply(a_plan({f"/etc/{name}": "secret"}, rootfs), rootfs)
    assert "system.posix_acl_access" not in os.listxattr(top / "etc" / name)


def test_a_failed_apply_leaves_no_journal(rootfs, top, tmp_path):
    (tmp_path / "state").mkdir()
    plan = a_plan({"/etc/hosts": "new", "/var/x": "x"}, rootfs)
    (top / "var/x").write_text("appeared")
    with (
        Root(str(tmp_path / "state")) as state,
        state.directory("/") as directory,
        pytest.raises(RefusedError),
    ):
        apply(plan, rootfs, journal=Journal(directory))
    assert os.listdir(tmp_path / "state") == []


def test_journal_is_kept_after_rollback_with_an_unreadable_backup(rootfs, top, tmp_path, monkeypatch):
    def broken(*arguments):
        raise OSError(errno.EIO, "broken")

    def commit(target):
        commit_original(target) if target.change.real == "/etc/hosts" else broken()

    def put_back(target):
        monkeypatch.setattr(Directory, "lstat", broken)
        monkeypatch.setattr(Directory, "rename", broken)
        broken()

    commit_original = StagedFile.commit
    (tmp_path / "state").mkdir()
    plan = a_plan({"/etc/hosts": "new", "/var/x": "x"}, rootfs)
    monkeypatch.setattr(StagedFile, "commit", commit)
    monkeypatch.setattr(StagedFile, "_put_back", put_back)
    with (
        Root(str(tmp_path / "state")) as state,
        state.directory("/") as directory,
        pytest.raises(WriteError),
    ):
        apply(plan, rootfs, journal=Journal(directory))
    assert os.listdir(tmp_path / "state") == ["journal"]
    assert [Path(path).read_text() for path in strays(top)] == ["old"]


@pytest.mark.parametrize("owner", [0, pytest.param(1234, marks=as_root)])
@pytest.mark.parametrize("with_journal", [True, False])
def test_later_runs_keep_the_old_content_after_a_failed_rollback(
    rootfs, top, tmp_path, monkeypatch, owner, with_journal
):
    """The next run removed the old content before it had written anything, and then failed, too."""
    if owner:
        os.chown(top, owner, owner)
    (tmp_path / "state").mkdir()
    plan = a_plan({"/etc/hosts": "new", "/var/x": "x"}, rootfs)

    def broken(*arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Root(str(tmp_path / "state")) as state, state.directory("/") as directory:
        journal = Journal(directory) if with_journal else None
        with monkeypatch.context() as patch, pytest.raises(WriteError) as caught:
            patch.setattr(Transaction, "_sync_names", broken)
            patch.setattr(StagedFile, "_put_back", broken)
            apply(plan, rootfs, journal=journal)
        note = next(note for note in caught.value.notes if "hosts" in note)
        place = re.fullmatch(
            r"can't restore '/etc/hosts': input/output error; its old content is in '/(.*)'", note
        )
        assert place is not None
        assert (top / place[1]).read_text() == "old"
        for text in ("other", "third"):
            apply(a_plan({"/etc/hosts": text}, rootfs), rootfs, journal=journal)
            assert (top / place[1]).read_text() == "old"
        assert os.listdir(tmp_path / "state") == []


class Outcomes(list):
    def commit(self):
        self.append("commit")

    def keep(self):
        self.append("keep")


def test_apply_reports_the_commit_before_it_delivers_a_signal(rootfs, top, monkeypatch):
    outcomes = Outcomes()
    real = Transaction._clear_away

    def clear_away(*words, **options):
        signal.raise_signal(signal.SIGINT)
        real(*words, **options)

    monkeypatch.setattr(Transaction, "_clear_away", clear_away)
    with pytest.raises(KeyboardInterrupt):
        apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs, outcome=outcomes)
    assert outcomes == ["commit"] and (top / "etc/hosts").read_text() == "new"


@pytest.mark.parametrize("is_restored", [True, False])
def test_apply_reports_a_file_that_could_not_be_restored(rootfs, top, monkeypatch, is_restored):
    def broken(*arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    outcomes = Outcomes()
    monkeypatch.setattr(Transaction, "_sync_names", broken)
    if not is_restored:
        monkeypatch.setattr(StagedFile, "_put_back", broken)
    with pytest.raises(WriteError):
        apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs, outcome=outcomes)
    assert outcomes == ([] if is_restored else ["keep"])


# mount points


@as_root
def test_apply_refuses_a_mount_point_by_default(rootfs, top, mounts):
    mounts.bind(top / "etc/keep", top / "etc/hosts")
    assert rootfs.entry("/etc/hosts").is_mount
    with pytest.raises(RefusedError, match=r"^'/etc/hosts': '/etc/hosts' is a mount point$") as caught:
        apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs)
    assert caught.value.hint == "templater enters a mount point only if crossing mounts is allowed"
    with pytest.raises(RefusedError, match=r"^'/etc/hosts': '/etc/hosts' is a mount point$") as caught:
        apply(a_plan({"/etc/hosts": "new"}, rootfs, in_place=True), rootfs)
    assert caught.value.hint == "templater enters a mount point only if crossing mounts is allowed"
    assert (top / "etc/keep").read_text() == "same"


@as_root
def test_file_with_an_unmapped_owner_is_refused(top, monkeypatch):
    """The kernel shows an unmapped owner as nobody, so the new file belonged to the container's nobody."""
    os.chown(top / "etc/hosts", 65534, 65534)
    with opened(top) as rootfs:
        apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs)
    assert (top / "etc/hosts").stat().st_uid == 65534
    real = os.open

    def unmapped(path, flags, *words, **options):
        if flags & os.O_NOATIME:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return real(path, flags, *words, **options)

    monkeypatch.setattr(oslite.os, "open", unmapped)
    with opened(top) as rootfs, pytest.raises(RefusedError) as refused:
        apply(a_plan({"/etc/hosts": "newer"}, rootfs), rootfs)
    assert refused.value.message == "the owner of '/etc/hosts' is unknown in this user namespace"
    assert (top / "etc/hosts").read_text() == "new"


def test_apply_compares_unchanged_files_again_after_waiting_for_another_apply(rootfs, top, monkeypatch):
    """Another apply wrote the file, and then restored the file.

    The waiting apply succeeded without writing the file.
    """
    plan = a_plan({"/etc/keep": "same", "/etc/new": "x"}, rootfs)
    held = lock(rootfs.root, 0)

    def other(seconds: float) -> None:
        (top / "etc/keep").write_text("old")
        os.close(held)

    monkeypatch.setattr(lock_module.time, "sleep", other)
    with pytest.raises(RefusedError, match=r"^'/etc/keep' was changed since the plan was made$"):
        apply(plan, rootfs)
    assert not (top / "etc/new").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_apply_increases_a_small_limit_on_open_files(rootfs, top):
    """crun gives its hooks the container's limit on open files.

    With a limit of 128, an apply of 150 files failed, but an apply of 250 files succeeded.
    """
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 40, before[1]))
    try:
        apply(a_plan({f"/etc/n{number}": "x" for number in range(100)}, rootfs), rootfs)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (top / "etc/n99").read_text() == "x"


class Stopped(BaseException):
    """Raised by a signal, as in a hook."""


def test_errors_of_failed_rollback_are_kept_after_a_signal(rootfs, monkeypatch):
    def stop(number: int, frame: object) -> None:
        raise Stopped

    def fail(target: StagedFile) -> None:
        target.committed = True
        signal.raise_signal(signal.SIGTERM)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail_too(target: StagedFile) -> None:
        raise WriteError("can't restore '/etc/hosts'")

    monkeypatch.setattr(StagedFile, "commit", fail)
    monkeypatch.setattr(StagedFile, "put_back", fail_too)
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(Stopped) as stopped:
            apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stopped.value.__notes__ == [
        "can't put in place '/etc/hosts': no space left on device", "can't restore '/etc/hosts'",
    ]  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_during_a_failed_commit_is_delivered_after_the_rollback(rootfs, top, monkeypatch, number):
    """SIGTERM ended a command between the error and the rollback, so that some files stayed new."""
    real, seen = StagedFile.commit, []

    def fail_at_the_second(target: StagedFile) -> None:
        real(target)
        if target.change.real == "/etc/new":
            signal.raise_signal(number)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def look(number: int, frame: object) -> None:
        seen.append(((top / "etc/hosts").read_text(), (top / "etc/new").exists(), strays(top)))

    monkeypatch.setattr(StagedFile, "commit", fail_at_the_second)
    old = (top / "etc/hosts").read_text()
    before = signal.signal(number, look)
    try:
        with pytest.raises(WriteError, match="no space left on device"):
            apply(a_plan({"/etc/hosts": "new", "/etc/new": "x"}, rootfs), rootfs)
    finally:
        signal.signal(number, before)
    assert seen == [(old, False, [])]


@as_root
def test_apply_enters_a_mount_below_the_root_only_on_request(rootfs, top, mounts, tmp_path):
    mounts.bind(a_directory(tmp_path / "host", {"file": "host"}), top / "var")
    for files in ({"/var/file": "x"}, {"/var/new": "x"}):
        with pytest.raises(RefusedError, match="'/var' is a mount point"):
            apply(a_plan(files, rootfs, in_place=True), rootfs)
    with opened(top, rootfs.root.mechanism, cross_mounts=True) as open_rootfs:
        apply(a_plan({"/var/file": "x", "/var/new": "y"}, open_rootfs, in_place=True), open_rootfs)
    assert (tmp_path / "host/file").read_text() == "x"
    assert sorted(os.listdir(top / "var")) == ["file", "new"]
    assert strays(top) == []


@as_root
@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("xino", ["auto", "off"])
def test_apply_writes_to_an_overlay_of_two_file_systems(tmp_path, mounts, mechanism, xino):
    """Files on an overlay have their own device and inode numbers, which change at copy-up."""
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    mounts.tmpfs(tmp_path / "lower")
    a_directory(tmp_path / "lower", {"etc/hosts": "old", "etc/keep": "same"})
    folders = [tmp_path / name for name in ("lower", "upper", "work", "merged")]
    mounts.overlay(*folders, f"xino={xino}")
    files = {"/etc/hosts": "new", "/etc/keep": "same", "/etc/new": "x", "/srv/a/y": "y"}
    with opened(tmp_path / "merged", mechanism) as rootfs:
        assert not rootfs.entry("/etc/hosts").is_mount
        written = apply(a_plan(files, rootfs), rootfs)
        assert [change.path for change in written] == ["/etc/hosts", "/etc/new", "/srv/a/y"]
        assert apply(a_plan(files, rootfs), rootfs) == []
    assert (tmp_path / "merged/etc/hosts").read_text() == "new"
    assert (tmp_path / "lower/etc/hosts").read_text() == "old"
    assert strays(tmp_path / "merged") == strays(tmp_path / "upper") == []


@as_root
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_apply_replaces_one_hard_link_in_a_lower_layer(tmp_path, mounts, mechanism):
    """The copy of a hard link has another inode, so the first start of each container was refused."""
    folders = [tmp_path / name for name in ("lower", "upper", "work", "merged")]
    for folder in folders:
        folder.mkdir()
    a_directory(tmp_path / "lower", {"etc/hosts": "old"})
    os.link(tmp_path / "lower/etc/hosts", tmp_path / "lower/etc/other")
    mounts.overlay(*folders, "index=off")
    with opened(tmp_path / "merged", mechanism) as rootfs:
        apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs)
    assert (tmp_path / "merged/etc/hosts").read_text() == "new"
    assert (tmp_path / "merged/etc/other").read_text() == "old"
    assert strays(tmp_path / "merged") == strays(tmp_path / "upper") == []


@as_root
@pytest.mark.parametrize("names", [["etc/hosts"], ["etc/hosts", "etc/other"]])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_attack_78_apply_never_copies_a_large_file_from_a_lower_layer(
    tmp_path, mounts, mechanism, names, monkeypatch
):
    """The kernel copied a file of several gigabytes in one system call, which no time limit ended."""
    monkeypatch.setattr(target_directories, "MAX_COPIED", 3_000_000)
    folders = [tmp_path / name for name in ("lower", "upper", "work", "merged")]
    for folder in folders:
        folder.mkdir()
    a_directory(tmp_path / "lower", {"etc/a": "x" * 2_000_000, "etc/hosts": "x" * 2_000_000})
    for name in names[1:]:
        os.link(tmp_path / "lower/etc/hosts", tmp_path / "lower" / name)
    mounts.overlay(*folders, "index=off")
    files = {"/etc/a": "new", "/etc/hosts": "new"}
    with (
        opened(tmp_path / "merged", mechanism) as rootfs,
        pytest.raises(LimitError, match=r"'/etc/hosts' has 200[0-9]{4} bytes, but one run"),
    ):
        apply(a_plan(files, rootfs), rootfs)
    assert not (tmp_path / "upper/etc/hosts").exists()
    assert (tmp_path / "merged/etc/a").read_text()[:2] == "xx"
    assert strays(tmp_path / "merged") == strays(tmp_path / "upper") == []


def an_overlay(tmp_path, mounts, files):
    """Mount an overlay with these files in its lower layer. Return the folders of its layers and itself."""
    folders = [tmp_path / name for name in ("lower", "upper", "work", "merged")]
    for folder in folders:
        folder.mkdir()
    a_directory(folders[0], files)
    mounts.overlay(*folders, "index=off")
    return folders


@as_root
@pytest.mark.parametrize(("links", "mounted"), [(1, False), (2, False), (1, True)])
def test_attack_78_a_file_of_an_overlay_is_read_within_the_time_limit(
    top, tmp_path, mounts, links, mounted, monkeypatch
):
    """The kernel decompressed 32 times the size of a target to copy it: one link took 38 s."""
    lower, upper, _, merged = an_overlay(tmp_path, mounts, {"etc/hosts": "x" * 600_000, "etc/a": "old"})
    if links == 2:
        os.link(lower / "etc/hosts", lower / "etc/other")
    if mounted:
        mounts.bind(merged / "etc/hosts", top / "etc/hosts")
    now = iter(range(1000))
    monkeypatch.setattr(transaction, "monotonic", lambda: next(now))
    with opened(top if mounted else merged, "", cross_mounts=mounted) as rootfs:
        plan = a_plan({"/etc/hosts": "new"}, rootfs, in_place=mounted)
        with pytest.raises(LimitError, match=r"^preparing all files takes longer than 1\.0 s"):
            apply(plan, rootfs, deadline=4)
        assert not (upper / "etc/hosts").exists()
        read, total = oslite.os.read, []

        def counted(fd, size):
            data = read(fd, size)
            if data[:1] == b"x":
                total.append((len(data), (upper / "etc/hosts").exists()))
            return data

        monkeypatch.setattr(oslite.os, "read", counted)
        apply(plan, rootfs, deadline=100_000)
    before = [size for size, is_copied in total if not is_copied]
    assert sum(before) == 600_000
    assert max(before) < 300_000
    assert (merged / "etc/hosts").read_text() == "new"


@as_root
def test_attack_78_the_limit_on_replaced_bytes_is_lower_in_an_overlay(tmp_path, mounts, monkeypatch):
    monkeypatch.setattr(target_directories, "MAX_COPIED", 3_000_000)
    lower, upper, _, merged = an_overlay(tmp_path, mounts, {"etc/hosts": "old"})
    os.truncate(lower / "etc/hosts", 3_000_001)
    with opened(merged, "") as rootfs, pytest.raises(LimitError, match="may replace at most 3000000 bytes"):
        apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs)
    assert not (upper / "etc/hosts").exists()


@as_root
@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("unnamed", [True, False])
@pytest.mark.parametrize(("uid", "links"), [(0, 1), (100000, 1), (0, 2)])
def test_rollback_restores_a_copy_of_a_lower_layer_file(
    tmp_path, mounts, mechanism, unnamed, uid, links, monkeypatch
):
    lower, upper, _, merged = an_overlay(
        tmp_path, mounts, {"etc/hosts": "old " * 100_000, "etc/keep": "same"}
    )
    target = lower / "etc/hosts"
    os.chown(lower, uid, uid)
    os.chown(target, 33, 44)
    target.chmod(0o2600)
    for name, value in {**KEPT, "security.capability": CAPABILITY}.items():
        os.setxattr(target, name, value)
    os.utime(target, ns=(10**18 + 1, 10**18 + 2))
    if links == 2:
        os.link(target, lower / "etc/other")
    before = details(merged / "etc/hosts")
    seen = []
    if not unnamed:
        monkeypatch.setattr(Directory, "create_unnamed", no_unnamed_files)
    fail_to_commit(monkeypatch, "/etc/keep", lambda: seen.append((merged / "etc/hosts").read_text()))
    with (
        opened(merged, mechanism) as rootfs,
        pytest.raises(WriteError, match="can't put in place '/etc/keep'") as caught,
    ):
        apply(a_plan({"/etc/hosts": "new", "/etc/keep": "other"}, rootfs), rootfs)
    assert caught.value.notes == ()
    assert seen == ["new"]
    assert details(merged / "etc/hosts") == before
    assert details(target) == before
    assert "trusted.overlay.origin" not in os.listxattr(
        upper / "etc/hosts"
    )  # of a file that the kernel copied
    assert sorted(os.listdir(upper / "etc")) == ["hosts"]
    assert strays(merged) == strays(upper) == []


@as_root
@pytest.mark.parametrize("inheriting", [["etc"], ["", "etc"]])
@pytest.mark.parametrize("old", [0, 5])
@pytest.mark.parametrize("fails", [True, False])
def test_a_file_with_its_own_project_id_is_replaced_and_restored(
    tmp_path, mounts, inheriting, old, fails, monkeypatch
):
    """The kernel does not link or rename such a file into the directory, so no rollback could restore it."""
    top = a_directory(mounts.xfs(tmp_path) / "root", {"etc/hosts": "old", "etc/keep": "same"})
    set_project(top / "etc/hosts", old)
    for folder in inheriting:
        set_project(top / folder, 6, inherits=True)
    (top / "etc/hosts").chmod(0o640)
    if fails:
        fail_to_commit(monkeypatch, "/etc/keep", lambda: None)
    with (
        opened(top, "") as rootfs,
        pytest.raises(WriteError) if fails else contextlib.nullcontext() as caught,
    ):
        apply(a_plan({"/etc/hosts": "new", "/etc/keep": "other"}, rootfs), rootfs)
    if fails:
        assert caught.value.notes == ()
    assert (top / "etc/hosts").read_text() == ("old" if fails else "new")
    assert (top / "etc/keep").read_text() == ("same" if fails else "other")
    assert mode(top / "etc/hosts") == 0o640
    assert strays(top) == []


@as_root
def test_rollback_restores_same_inode_if_no_project_is_inherited(tmp_path, mounts, monkeypatch):
    top = a_directory(mounts.xfs(tmp_path) / "root", {"etc/hosts": "old", "etc/keep": "same"})
    set_project(top / "etc/hosts", 5)
    inode = (top / "etc/hosts").stat().st_ino
    fail_to_commit(monkeypatch, "/etc/keep", lambda: None)
    with opened(top, "") as rootfs, pytest.raises(WriteError):
        apply(a_plan({"/etc/hosts": "new", "/etc/keep": "other"}, rootfs), rootfs)
    assert (top / "etc/hosts").stat().st_ino == inode


def test_rollback_restores_copy_of_file_with_own_project_id(rootfs, top, monkeypatch):
    def found(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            return 6, True
        return (6, False) if os.readlink(f"/proc/self/fd/{fd}").endswith(" (deleted)") else (0, False)

    monkeypatch.setattr(staged_file, "project_of", found)
    (top / "etc/hosts").chmod(0o640)
    inode = (top / "etc/hosts").stat().st_ino
    fail_to_commit(monkeypatch, "/etc/keep", lambda: None)
    with pytest.raises(WriteError) as caught:
        apply(a_plan({"/etc/hosts": "new", "/etc/keep": "other"}, rootfs), rootfs)
    assert caught.value.notes == ()
    assert ((top / "etc/hosts").read_text(), mode(top / "etc/hosts")) == ("old", 0o640)
    assert (top / "etc/hosts").stat().st_ino != inode
    assert strays(top) == []


def set_project(path, number, *, inherits=False):
    """Set a project id, as ``chattr -p NUMBER +P PATH`` does."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fields = list(struct.unpack("<5I8s", fcntl.ioctl(fd, 0x801C581F, bytes(28))))
        fields[0] |= 0x200 if inherits else 0
        fields[3] = number
        fcntl.ioctl(fd, 0x401C5820, struct.pack("<5I8s", *fields))
    finally:
        os.close(fd)


def details(path):
    status = os.stat(path)
    attributes = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    return path.read_text(), mode(path), owner(path), status.st_mtime_ns, attributes


@as_root
@pytest.mark.parametrize("unnamed", [True, False])
def test_the_copy_of_a_replaced_overlay_file_has_no_additional_readers(
    tmp_path, mounts, unnamed, monkeypatch
):
    """The directory of the file has an ACL that all new files in it inherit."""
    lower, _, _, merged = an_overlay(tmp_path, mounts, {"etc/hosts": "old"})
    (lower / "etc/hosts").chmod(0o600)
    os.setxattr(lower / "etc", "system.posix_acl_default", ACL)
    real, seen = oslite.os.write, []

    def look(fd, data):
        for place in map(Path, strays(merged)):
            seen.append(
                (place.parent, mode(place), b"".join(os.getxattr(place, n) for n in os.listxattr(place)))
            )
        return real(fd, data)

    monkeypatch.setattr(oslite.os, "write", look)
    monkeypatch.setattr(transaction.Transaction, "_sync_contents", lambda self: look(1, b""))
    if not unnamed:
        monkeypatch.setattr(Directory, "create_unnamed", no_unnamed_files)
    with opened(merged, "") as rootfs:
        apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs)
    assert seen
    assert {*seen} == {(merged, 0o600, b"")}
    assert details(merged / "etc/hosts")[:2] == ("new", 0o600)


@as_root
@pytest.mark.parametrize("change", ["append", "truncate", "overwrite"])
def test_an_overlay_file_is_refused_if_it_changes_during_the_copy(tmp_path, mounts, change, monkeypatch):
    merged = an_overlay(tmp_path, mounts, {"etc/hosts": "old " * 100_000})[3]
    target, read, changed = merged / "etc/hosts", oslite.os.read, []

    def changing(fd, size):
        data = read(fd, size)
        if data[:3] == b"old" and not changed:
            changed.append(change)
            with open(target, "r+b") as file:
                file.seek(0, 0 if change == "overwrite" else 2)
                file.truncate(5) if change == "truncate" else file.write(b"x")
        return data

    with opened(merged, "") as rootfs:
        plan = a_plan({"/etc/hosts": "new"}, rootfs)
        monkeypatch.setattr(oslite.os, "read", changing)
        with pytest.raises(RefusedError, match="'/etc/hosts' was changed since"):
            apply(plan, rootfs)
    size = {"append": 400_001, "truncate": 5, "overwrite": 400_000}[change]
    assert len(target.read_text()) == size
    assert strays(merged) == []


@as_root
@pytest.mark.parametrize("durable", [True, False])
def test_the_copy_of_an_overlay_file_is_synced_before_the_replacement(tmp_path, mounts, durable, monkeypatch):
    """After a rollback and a power cut, the file would be empty."""
    merged = an_overlay(tmp_path, mounts, {"etc/hosts": "old"})[3]
    real, synced = os.fsync, []

    def fsync(fd):
        if stat.S_ISREG(os.fstat(fd).st_mode):
            synced.append((os.pread(fd, 9, 0), (merged / "etc/hosts").read_text()))
        real(fd)

    monkeypatch.setattr(oslite.os, "fsync", fsync)
    with opened(merged, "") as rootfs:
        apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs, durable=durable)
    assert synced == [(b"old", "old"), (b"new", "old")] * durable


def set_many_attributes(path, prefix="user."):
    """Give a file or directory more attributes than the test lets a run copy."""
    try:
        for n in range(10):
            os.setxattr(path, f"{prefix}attribute-{n}", bytes(100))
    except OSError as error:
        pytest.skip(f"NOT RUN: needs attributes: {error}")


@as_root
@pytest.mark.parametrize("place", ["a", "a/b", "a/b/c"])
@pytest.mark.parametrize("target", ["/a/b/c/old", "/a/b/c/new", "/a/b/c/d/new"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_attack_88_overlay_directory_with_too_many_attributes_is_not_copied(
    tmp_path, mounts, mechanism, target, place, monkeypatch
):
    """The kernel copied 1,000 nested directories with 6,500 attributes each in one call, for 40 seconds."""
    monkeypatch.setattr(attributes, "MOST_ATTRIBUTES", 3000)
    lower, upper, _, merged = an_overlay(tmp_path, mounts, {"a/b/c/old": "old", "etc/x": "old"})
    set_many_attributes(lower / place)
    with opened(merged, mechanism) as rootfs:
        plan = a_plan({"/etc/x": "new", target: "new"}, rootfs)
        with pytest.raises(LimitError, match=f"^'/{place}' has too many or too large extended attributes"):
            apply(plan, rootfs)
    assert (merged / "etc/x").read_text() == "old"
    assert not (upper / "a").exists()
    assert strays(merged) == strays(upper) == []


@as_root
@pytest.mark.parametrize("links", [1, 2])
@pytest.mark.parametrize("prefix", ["user.", "user.overlay."])
def test_attack_88_overlay_file_with_too_many_attributes_is_not_copied(
    tmp_path, mounts, prefix, links, monkeypatch
):
    monkeypatch.setattr(attributes, "MOST_ATTRIBUTES", 3000)
    lower, upper, _, merged = an_overlay(tmp_path, mounts, {"etc/hosts": "old"})
    set_many_attributes(lower / "etc/hosts", prefix)
    if links == 2:
        os.link(lower / "etc/hosts", lower / "etc/other")
    with opened(merged, "") as rootfs, pytest.raises(LimitError, match=r"^'/etc/hosts' has too many"):
        apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs)
    assert not (upper / "etc/hosts").exists()
    assert strays(merged) == strays(upper) == []


@as_root
@pytest.mark.parametrize("reason", ["attributes", "size"])
def test_attack_88_mounted_overlay_file_with_too_large_copy_is_refused(
    top, tmp_path, mounts, reason, monkeypatch
):
    lower, upper, _, merged = an_overlay(tmp_path, mounts, {"file": "old"})
    if reason == "attributes":
        monkeypatch.setattr(attributes, "MOST_ATTRIBUTES", 3000)
        set_many_attributes(lower / "file")
    else:
        os.truncate(lower / "file", target_directories.MAX_REPLACED + 1)
    mounts.bind(merged / "file", top / "etc/hosts")
    with opened(top, "", cross_mounts=True) as rootfs, pytest.raises(LimitError, match=r"^'/etc/hosts' "):
        apply(a_plan({"/etc/hosts": "new"}, rootfs, in_place=True), rootfs)
    assert not (upper / "file").exists()


def test_attack_88_all_targets_share_one_limit_on_extended_attributes(rootfs, top, monkeypatch):
    monkeypatch.setattr(attributes, "MOST_ATTRIBUTES", 5000)
    for name in ("a", "b"):
        (top / f"etc/{name}").write_text("old")
        set_many_attributes(top / f"etc/{name}")
    with pytest.raises(LimitError, match=r"^'/etc/b' has too many"):
        apply(a_plan({"/etc/a": "new", "/etc/b": "new"}, rootfs), rootfs)
    assert (top / "etc/a").read_text() == (top / "etc/b").read_text() == "old"
    apply(a_plan({"/etc/a": "new"}, rootfs), rootfs)
    apply(a_plan({"/etc/b": "new"}, rootfs), rootfs)
    assert len(os.listxattr(top / "etc/b")) >= 10


def test_attributes_of_directory_are_counted_once_for_all_targets(rootfs, top, monkeypatch):
    """The directories are counted in the order of the rules."""
    monkeypatch.setattr(attributes, "MOST_ATTRIBUTES", 5000)
    set_many_attributes(top / "etc")
    files = {f"/etc/{name}/x": "new" for name in "abc"}
    a_directory(top, {name[1:]: "old" for name in files})
    assert len(apply(a_plan(files, rootfs), rootfs)) == 3


@pytest.mark.slow
@as_root
@pytest.mark.parametrize(
    ("owner", "step"),
    [
        (Directory, "directory"),  # an empty new directory
        (TargetDirectories, "link_somewhere"),  # without unnamed files: a file beside its target
        (StagedFile, "commit"),
        (remove_leftovers.Search, "remove"),
    ],
)
@pytest.mark.parametrize("unnamed", [True, False])
@pytest.mark.parametrize("uid", [0, 100000])
def test_attack_80_next_run_finds_overlay_leftovers_without_listing_a_directory(
    tmp_path, mounts, owner, step, unnamed, uid, monkeypatch
):
    """overlayfs reads the directories of all layers, but reports the size of the upper layer's directory."""
    merged = an_overlay(tmp_path, mounts, {"etc/hosts": "old", "etc/host": "old", "srv/x": "x"})[3]
    os.chown(merged, uid, uid)
    files = {"/etc/host": "new", "/etc/hosts": "new", "/srv/y": "y"}
    if step == "directory":
        files["/opt/a/b"] = "b"
    with monkeypatch.context() as patch, opened(merged, "") as rootfs:
        if not unnamed:
            fail = OSError(errno.EOPNOTSUPP, "no unnamed files")
            patch.setattr(Directory, "create_unnamed", lambda self: (_ for _ in ()).throw(fail))
        patch.setattr(owner, step, lambda *_: os.kill(os.getpid(), 9))
        run_and_be_killed(rootfs, files, tmp_path)
    assert bool(strays(merged)) is not (step == "link_somewhere" and unnamed)
    listed = []
    monkeypatch.setattr(Directory, "names_with", lambda self, *_: listed.append(self.path) or ([], 1))
    monkeypatch.setattr(Directory, "listdir", lambda self: listed.append(self.path) or [])
    with opened(merged, "") as rootfs, Root(str(tmp_path)) as state, state.directory("/") as directory:
        apply(a_plan({"/etc/hosts": "newer"}, rootfs), rootfs, journal=Journal(directory))
        assert Journal(directory).read() is None
        assert strays(merged) == []
        apply(a_plan({"/etc/hosts": "newest"}, rootfs), rootfs)
    assert listed == []


def run_and_be_killed(rootfs, files, state):
    """Apply files in a process that a patched step kills."""
    with Root(str(state)) as outside, outside.directory("/") as directory:
        child = os.fork()
        if not child:
            try:
                apply(a_plan(files, rootfs), rootfs, journal=Journal(directory))
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 9


# the private directory for temporary files


def of_another_user(top):
    for place in (top, *top.rglob("*")):
        os.chown(place, 100000, 100000)


def can_open(top, name):
    """Return whether the root user of the container can open a directory in the root directory."""
    above = os.open(top, os.O_RDONLY)
    os.seteuid(100000)
    try:
        os.close(os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=above))
    except PermissionError:
        return False
    else:
        return True
    finally:
        os.seteuid(0)
        os.close(above)


@as_root
@pytest.mark.parametrize("unnamed", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_attack_91_no_user_of_an_unprivileged_container_can_open_a_temporary_file(
    rootfs, top, monkeypatch, unnamed, fails
):
    """A process of the container locked a staged file: the rename waited for 26 s."""
    of_another_user(top)
    seen, sync = [], transaction.Transaction._sync_contents

    def look(self):
        for place in map(Path, strays(top)):
            if place.parent == top:
                seen.append((can_open(top, place.name), owner(place), mode(place)))
                seen.append(sorted(each.read_text() for each in place.iterdir()))
        sync(self)

    monkeypatch.setattr(transaction.Transaction, "_sync_contents", look)
    if not unnamed:
        monkeypatch.setattr(Directory, "create_unnamed", no_unnamed_files)
    if fails:
        fail_to_commit(monkeypatch, "/etc/keep", lambda: None)
    files = {"/etc/hosts": "new", "/etc/keep": "other", "/srv/x": "x"}
    with contextlib.suppress(WriteError):
        apply(a_plan(files, rootfs), rootfs)
    assert can_open(top, "etc")
    assert seen[0] == (False, (0, 0), 0o700)
    assert seen[1:] == [sorted(["old", "same", *([] if unnamed else ["new", "other", "x"])])]
    assert (top / "etc/hosts").read_text() == ("old" if fails else "new")
    assert (top / "etc/keep").read_text() == ("same" if fails else "other")
    assert strays(top) == []


def no_unnamed_files(self):
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


@as_root
def test_a_run_without_replaced_files_makes_no_private_directory(rootfs, top, monkeypatch):
    of_another_user(top)
    monkeypatch.setattr(TargetDirectories, "_make_private", None)
    apply(a_plan({"/etc/new": "new", "/srv/x": "x"}, rootfs), rootfs)
    assert (top / "etc/new").read_text() == "new"


@as_root
@pytest.mark.parametrize("step", ["_sync_contents", "_clear_away"])
@pytest.mark.parametrize("journal", [True, False])
def test_the_next_run_removes_the_private_directory_of_a_killed_run(
    rootfs, top, tmp_path, monkeypatch, step, journal
):
    of_another_user(top)
    with monkeypatch.context() as patch:
        patch.setattr(transaction.Transaction, step, lambda *_, **__: os.kill(os.getpid(), 9))
        run_and_be_killed(rootfs, {"/etc/hosts": "new"}, tmp_path)
    assert len(strays(top)) > 1
    with Root(str(tmp_path)) as state, state.directory("/") as directory:
        apply(
            a_plan({"/etc/hosts": "newer"}, rootfs), rootfs, journal=Journal(directory) if journal else None
        )
    assert (top / "etc/hosts").read_text() == "newer"
    assert strays(top) == []


@as_root
def test_apply_refuses_a_private_directory_that_another_process_has_replaced(rootfs, top, monkeypatch):
    of_another_user(top)
    mkdir = Directory.mkdir

    def exchanged(self, name, mode=0o755):
        mkdir(self, name, mode)
        if name.startswith(PREFIX):
            os.chown(top / name, 100000, 100000)

    monkeypatch.setattr(Directory, "mkdir", exchanged)
    with pytest.raises(RefusedError, match="another process replaced a temporary directory of templater"):
        apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs)
    assert (top / "etc/hosts").read_text() == "old"
    assert strays(top) == []


@as_root
def test_apply_writes_all_files_if_another_process_renames_the_private_directory(
    rootfs, top, tmp_path, monkeypatch
):
    of_another_user(top)
    (tmp_path / "state").mkdir()
    sync = transaction.Transaction._sync_contents

    def moved(self):
        (private,) = top.glob(f"{PREFIX}*")
        private.rename(top / "elsewhere")
        sync(self)

    monkeypatch.setattr(transaction.Transaction, "_sync_contents", moved)
    with Root(str(tmp_path / "state")) as state, state.directory("/") as directory:
        apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs, journal=Journal(directory))
        assert (top / "etc/hosts").read_text() == "new"
        assert os.listdir(top / "elsewhere") == []
        assert Journal(directory).read() is None


@as_root
@pytest.mark.parametrize(
    ("call", "number"), [("mkdir", errno.EROFS), ("link", errno.EXDEV), ("directory", errno.EACCES)]
)
def test_temporary_files_are_beside_target_with_unwritable_root_directory(
    rootfs, top, monkeypatch, call, number
):
    """The root directory can be read-only, and the target's directory can be on another file system."""
    of_another_user(top)
    original, seen = getattr(Directory, call), []

    def failing(self, name, *words):
        there = words[0].path if call == "link" else self.path
        if (call == "link" or name.startswith(PREFIX)) and not there.startswith("/etc"):
            raise OSError(number, os.strerror(number))
        return original(self, name, *words)

    def look(self):
        (private,) = (top / "etc").glob(f"{PREFIX}*")
        seen.append((can_open(top / "etc", private.name), owner(private), mode(private)))
        seen.extend(path.read_text() for path in private.iterdir())

    monkeypatch.setattr(Directory, call, failing)
    monkeypatch.setattr(transaction.Transaction, "_sync_contents", look)
    apply(a_plan({"/etc/hosts": "new", "/etc/keep": "other"}, rootfs), rootfs)
    assert (top / "etc/hosts").read_text() == "new"
    assert seen[0] == (False, (0, 0), 0o700)
    assert {"old", "same"} <= set(seen)
    assert strays(top) == []


@pytest.mark.slow
@as_root
@pytest.mark.parametrize("owner_of_top", [0, 100000])
@pytest.mark.parametrize("is_killed", [False, True])
def test_attack_91_container_users_cannot_open_temporary_files_in_a_btrfs_subvolume(
    tmp_path, mounts, monkeypatch, is_killed, owner_of_top
):
    """Every user can make a subvolume, from which no file can be linked into another directory."""
    place = mounts.btrfs(tmp_path)
    for name in ("etc", "srv"):
        subprocess.run(["btrfs", "subvolume", "create", place / name], check=True, capture_output=True)
        (place / name / "a").write_text("old")
    of_another_user(place)
    os.chown(place, owner_of_top, owner_of_top)
    seen = []

    def look(self):
        for name in ("etc", "srv"):
            (private,) = (place / name).glob(f"{PREFIX}*")
            seen.append((can_open(place / name, private.name), owner(private), len(os.listdir(private))))

    with DirectoryRootfs(str(place)) as rootfs:
        if is_killed:
            with monkeypatch.context() as patch:
                patch.setattr(transaction.Transaction, "_commit", lambda *_: os.kill(os.getpid(), 9))
                run_and_be_killed(rootfs, {"/etc/a": "new", "/srv/a": "new"}, tmp_path)
            assert len([*place.rglob(f"{PREFIX}*")]) == 4 + (owner_of_top != 0)
        monkeypatch.setattr(transaction.Transaction, "_sync_contents", look)
        with Root(str(tmp_path)) as state, state.directory("/") as directory:
            apply(a_plan({"/etc/a": "new", "/srv/a": "new"}, rootfs), rootfs, journal=Journal(directory))
    assert seen == [(False, (0, 0), 1)] * 2
    assert [*place.rglob(f"{PREFIX}*")] == []


@pytest.mark.parametrize("unnamed", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_attack_92_apply_renames_files_only_within_one_directory(rootfs, top, monkeypatch, unnamed, fails):
    """An ordinary user held the file system's lock for such renames, and each start that changed a file waited."""
    renames, rename = [], Directory.rename_held

    def recorded(self, name, to, new):
        renames.append((self.path, to.path, new))
        rename(self, name, to, new)

    monkeypatch.setattr(Directory, "rename_held", recorded)
    if not unnamed:
        monkeypatch.setattr(Directory, "create_unnamed", no_unnamed_files)
    if fails:
        fail_to_commit(monkeypatch, "/var/x", lambda: None)
    with contextlib.suppress(WriteError):
        apply(a_plan({"/etc/hosts": "new", "/etc/keep": "other", "/var/x": "x"}, rootfs), rootfs)
    assert renames == [("/etc", "/etc", name) for name in ("hosts", "keep", *(("keep", "hosts") * fails))]
    assert (top / "etc/hosts").read_text() == ("old" if fails else "new")
    assert strays(top) == []


def test_rollback_renames_old_file_if_disk_is_full(rootfs, top, monkeypatch):
    """A rename needs no space on a full disk."""
    link = Directory.link

    def full(self, name, to, new):
        if to.path == "/etc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        link(self, name, to, new)

    monkeypatch.setattr(Directory, "link", full)
    fail_to_commit(monkeypatch, "/var/x", lambda: None)
    with pytest.raises(WriteError) as caught:
        apply(a_plan({"/etc/hosts": "new", "/var/x": "x"}, rootfs), rootfs)
    assert caught.value.notes == ()
    assert (top / "etc/hosts").read_text() == "old"
    assert strays(top) == []


@pytest.mark.slow
@pytest.mark.parametrize("journal", [True, False])
@pytest.mark.parametrize("step", ["commit", "put_back"])
def test_the_next_run_removes_a_temporary_name_of_a_killed_run(
    rootfs, top, tmp_path, monkeypatch, journal, step
):
    (tmp_path / "state").mkdir()
    with monkeypatch.context() as patch:
        if step == "put_back":
            put_back = StagedFile.put_back

            def killed(target):
                patch.setattr(Directory, "rename_held", lambda *_: os.kill(os.getpid(), 9))
                put_back(target)

            patch.setattr(StagedFile, "put_back", killed)
            fail_to_commit(patch, "/var/x", lambda: None)
        else:
            rename = Directory.rename_held

            def killed_at(self, name, to, new):
                if new == "hosts":
                    os.kill(os.getpid(), 9)
                rename(self, name, to, new)

            patch.setattr(Directory, "rename_held", killed_at)
        run_and_be_killed(rootfs, {"/etc/hosts": "new", "/var/x": "x"}, tmp_path / "state")
    assert [Path(path).parent.name for path in sorted(strays(top)) if Path(path).parent != top] == ["etc"]
    with Root(str(tmp_path / "state")) as state, state.directory("/") as directory:
        apply(
            a_plan({"/etc/hosts": "newer"}, rootfs), rootfs, journal=Journal(directory) if journal else None
        )
    assert (top / "etc/hosts").read_text() == "newer"
    assert strays(top) == []


# the lock


@pytest.mark.slow
def test_a_second_apply_waits_for_the_first(rootfs, top):
    held = lock(rootfs.root, 1)
    releasing = threading.Timer(0.3, os.close, [held])
    releasing.start()
    began = time.monotonic()
    apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs, wait=20)
    assert time.monotonic() - began >= 0.25
    releasing.join()


def test_the_apply_error_shows_the_holder_of_the_lock(rootfs, top):
    code = (
        "import fcntl, os, sys, time; fd = os.open(sys.argv[1], os.O_RDONLY);"
        "fcntl.flock(fd, fcntl.LOCK_EX); print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(top)], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"locked\n"
            with pytest.raises(BusyError, match=f"process {holder.pid} \\(") as caught:
                apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs, wait=0.1)
            assert caught.value.exit_code == 7
        finally:
            holder.kill()
    assert (top / "etc/hosts").read_text() == "old"


def test_the_apply_function_leaves_no_descriptor_open(rootfs, top):
    before = sorted(os.listdir("/proc/self/fd"))
    apply(a_plan({"/etc/hosts": "new", "/srv/a/x": "y"}, rootfs), rootfs)
    plan = a_plan({"/etc/hosts": "newer", "/var/z": "y"}, rootfs)
    os.mkfifo(top / "var/z")
    with pytest.raises(RefusedError):
        apply(plan, rootfs)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_apply_refuses_a_system_without_directory_descriptors(top, monkeypatch):
    from templater.rootfs.confined_without_descriptors import ByName

    rootfs = DirectoryRootfs(ByName(str(top)))
    with pytest.raises(
        UsageError, match=r"^this system has no directory descriptors, which templater needs to write safely$"
    ):
        apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs)


def test_apply_gives_a_clear_error_without_the_fcntl_module(top):
    code = (
        "import sys; sys.modules['fcntl'] = None\n"
        "from templater.writing.apply_plan import apply\n"
        "from templater.rootfs.confined_without_descriptors import ByName\n"
        "from templater.rootfs.directory_rootfs import DirectoryRootfs\n"
        "from tests.rootfs_builders import a_plan\n"
        "rootfs = DirectoryRootfs(ByName(sys.argv[1]))\n"
        "try: apply(a_plan({'/etc/hosts': 'new'}, rootfs), rootfs)\n"
        "except Exception as error: print(type(error).__name__)"
    )
    command = [sys.executable, "-c", code, str(top)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stdout == "UsageError\n", done.stderr


def test_apply_reports_several_failures_together(rootfs, top):
    os.mkfifo(top / "var/f")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(top / "var")
        try:
            server.bind("s")
        finally:
            os.chdir(here)
    with pytest.raises(RefusedError, match=r"^'/var/f' is a fifo, not a regular file$") as caught:
        apply(a_plan([(a_rule("/var/f"), b"x"), (a_rule("/var/s"), b"x")], rootfs), rootfs)
    said = caught.value.explain()
    assert 0 < said.find("hint:") < said.find("socket"), "the first one's hint stands with it"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def owner(path: Path) -> tuple[int, int]:
    return path.stat().st_uid, path.stat().st_gid


def swap_for(path: Path, make: object) -> None:
    path.unlink()
    make(path)  # type: ignore[operator]


def test_apply_removes_leftovers_from_every_directory_above_a_journal_entry(rootfs, top, tmp_path):
    (top / "var/a/b").mkdir(parents=True)
    leftovers = [top / name / f"{PREFIX}cc-1-1" for name in ("", "var", "var/a", "var/a/b")]
    for leftover in leftovers:
        leftover.write_text("text")
    with Root(str(tmp_path)) as outside, outside.directory("/") as directory:
        journal = Journal(directory)
        journal.write(["cc", "/var/a/b/missing/deeper"])
        apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs, journal=journal)
    assert strays(top) == []


def test_plan_with_too_many_directories_is_refused_early(rootfs, top):
    before = snapshot(top, times=True)
    plan = a_plan({f"/{number:02}" + "/a" * 1700 + "/x": "text" for number in range(6)}, rootfs)
    tracemalloc.start()
    try:
        with pytest.raises(LimitError, match="needs 10206 new directories, more than 2000") as caught:
            apply(plan, rootfs)
        assert caught.value.hint == "put most of the directories into the image"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert snapshot(top, times=True) == before


def test_a_killed_apply_with_deeply_nested_directories_leaves_a_short_journal(
    rootfs, top, tmp_path, monkeypatch
):
    monkeypatch.setattr(Transaction, "carry_out", lambda *_: os.kill(os.getpid(), 9))
    with Root(str(tmp_path)) as outside, outside.directory("/") as directory:
        child = os.fork()
        if not child:
            apply(a_plan({"/a" * 100 + "/x": "text"}, rootfs), rootfs, journal=Journal(directory))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 9
        token, place = Journal(directory).read()
    assert re.fullmatch("[0-9a-f]{12}-1", token)
    assert place == "/a" * 100


@pytest.mark.slow
def test_a_failed_apply_removes_three_hundred_created_parents(rootfs, top, monkeypatch):
    before = snapshot(top)
    rules = {"/a" * 300 + "/x": "text", "/etc/hosts": "new"}
    apply(a_plan(rules, rootfs), rootfs, durable=False)
    assert rootfs.read("/a" * 300 + "/x", 9) == b"text"
    for call in ("sync_file_system", "can_sync_file_system"):
        monkeypatch.setattr(disk_sync, call, lambda fd: (_ for _ in ()).throw(OSError(errno.EIO, "no disk")))
    with pytest.raises(WriteError, match="can't put in place"):
        apply(a_plan({"/b" * 300 + "/x": "text"}, rootfs), rootfs)
    assert not (top / "b").exists()
    assert {name for name in snapshot(top) if not name.startswith("a")} == set(before)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        (f"{PREFIX}token", Path.touch),
        (f"{PREFIX}token-x-1", Path.touch),
        (f"{PREFIX}token-5-1", Path.mkdir),
        (f"{PREFIX}token-5-1", os.mkfifo),
        (f"{PREFIX}token-5-1", Path.touch),
        (f"{PREFIX}missing-5-1", None),
    ],
)
def test_apply_keeps_an_entry_that_cannot_be_a_leftover_of_templater(tmp_path, name, make):
    if make is not None:
        make(tmp_path / name)
    with Root(str(tmp_path)) as root, root.directory("/") as directory:
        assert remove_leftovers.Search(root, {"other": 0}).remove(directory, name) is True
    assert list(tmp_path.iterdir()) == ([] if make is None else [tmp_path / name])


@pytest.fixture
def held(monkeypatch):
    """Return the files that a command would hand over at its end."""
    held: list[int] = []
    monkeypatch.setattr(close_in_another_process, "_held", held)
    yield held
    for fd in held:
        os.close(fd)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs O_PATH")
@pytest.mark.parametrize("name", ["staged", "backup"])
def test_attack_83_apply_does_not_close_large_replacement_of_temporary_file(
    rootfs, top, monkeypatch, held, name
):
    """A container's root user put a file of 1.1 million extents in place of a temporary file.

    The removal of this file took 25 s.
    """
    large = top / "var/large"
    large.touch()
    os.truncate(large, 2_000_000)
    inode = large.stat().st_ino
    commit = StagedFile.commit

    def exchange_then_fail(directory, old, to, new):
        large.rename(top / "etc" / old)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def exchange(target):
        commit(target)
        large.rename(top / target.backup[1])

    if name == "staged":
        monkeypatch.setattr(Directory, "rename_held", exchange_then_fail)
    else:
        monkeypatch.setattr(StagedFile, "commit", exchange)
    plan = a_plan({"/etc/hosts": "new"}, rootfs)
    if name == "backup":
        apply(plan, rootfs)
    else:
        with pytest.raises(WriteError):
            apply(plan, rootfs)
    assert (top / "etc/hosts").read_text() == ("new" if name == "backup" else "old")
    assert strays(top) == []
    assert (inode, 0) in [(os.fstat(fd).st_ino, os.fstat(fd).st_nlink) for fd in held]


def fail_to_commit(monkeypatch, path, before):
    """Let the commit of one file fail, after a call of ``before``."""
    commit = StagedFile.commit

    def fail(target):
        if target.change.real != path:
            commit(target)
            return
        before()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(StagedFile, "commit", fail)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs O_PATH")
@pytest.mark.parametrize("target", ["/etc/hosts", "/etc/new"])
def test_attack_83_a_rollback_does_not_close_an_enlarged_file(rootfs, top, monkeypatch, held, target):
    """Processes of the container had enlarged each of 18 staged files to 64 MiB."""
    fail_to_commit(monkeypatch, "/var/x", lambda: os.truncate(top / target[1:], 2_000_000))
    with pytest.raises(WriteError, match="can't put in place '/var/x'") as caught:
        apply(a_plan({target: "new", "/var/x": "x"}, rootfs), rootfs)
    assert caught.value.notes == ()
    assert (top / "etc/hosts").read_text() == "old" and not (top / "etc/new").exists()
    assert strays(top) == []
    assert (2_000_000, 0) in [(os.fstat(fd).st_size, os.fstat(fd).st_nlink) for fd in held]


@pytest.mark.parametrize("size", [0, 100, 2_000_000])
def test_staged_file_changed_by_another_process_is_not_renamed(rootfs, top, monkeypatch, held, size):
    """The container's root user had enlarged the staged file to gigabytes."""
    plan = a_plan({"/etc/hosts": "new"}, rootfs)
    sync = transaction.Transaction._sync_contents

    def changed(self):
        os.truncate(self.targets[0].fd, size)
        sync(self)

    monkeypatch.setattr(transaction.Transaction, "_sync_contents", changed)
    with pytest.raises(
        RefusedError, match=r"^another process changed the new '/etc/hosts' while templater was writing it$"
    ):
        apply(plan, rootfs)
    assert (top / "etc/hosts").read_text() == "old"
    assert strays(top) == []
    assert size in [os.fstat(fd).st_size for fd in held] or size < close_in_another_process.SMALL


@pytest.fixture
def syncs(top, monkeypatch):
    """Return the list of syncs: each with the call, the kind of file and the number of new files in place."""
    syncs = []
    fsync, call_libc = os.fsync, disk_sync.call_libc

    def add(name, fd):
        kind = "directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"
        syncs.append((name, kind, sum(path.read_text() == "new" for path in top.rglob("file*"))))

    def call(name, fd, *arguments):
        if name == "syncfs":
            add(name, fd)
        return call_libc(name, fd, *arguments)

    monkeypatch.setattr(disk_sync.os, "fsync", lambda fd: add("fsync", fd) or fsync(fd))
    monkeypatch.setattr(disk_sync, "call_libc", call)
    return syncs


@pytest.mark.parametrize("old", [False, True])
def test_few_files_are_synced_before_they_get_final_names(rootfs, top, syncs, old):
    if old:
        a_directory(top, {f"d{n}/file{n}": "old" for n in range(3)})
    apply(a_plan({f"/d{n}/file{n}": "new" for n in range(3)}, rootfs), rootfs)
    directories = [("fsync", "directory", 3)] * (3 if old else 4)
    assert [sync for sync in syncs if sync[0] == "fsync"] == [("fsync", "file", 0)] * 3 + directories


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="syncfs is a call of Linux")
@pytest.mark.parametrize("old", [False, True])
def test_attack_85_two_syncs_of_the_file_system_suffice_for_many_files(rootfs, top, syncs, old):
    """The first start of an image with 10,000 rules took a minute, because each fsync waits for the disk."""
    if old:
        a_directory(top, {f"d{n}/file{n}": "old" for n in range(257)})
    apply(a_plan({f"/d{n}/file{n}": "new" for n in range(257)}, rootfs), rootfs)
    assert syncs == [("syncfs", "file", 0), ("syncfs", "directory", 257)]


@as_root
@pytest.mark.parametrize("kind", ["equal size", "overlay", "in place"])
def test_attack_87_the_time_limit_on_reading_files_also_applies_during_an_apply(tmp_path, mounts, kind):
    """The container's root user removed the pages of large targets from memory after the plan had read them."""
    if kind == "overlay":
        top = an_overlay(tmp_path, mounts, {"etc/hosts": "old"})[3]
    else:
        top = a_directory(tmp_path / "root", {"etc/hosts": "old"})
    if kind == "in place":
        mounts.bind(a_directory(tmp_path / "other", {"file": "old"}) / "file", top / "etc/hosts")
    with opened(top, cross_mounts=kind == "in place") as rootfs:
        new = "new" if kind == "equal size" else "longer"
        plan = a_plan({"/etc/hosts": new}, rootfs, in_place=kind == "in place")
        rootfs.limit_reading(0)
        with pytest.raises(SlowError, match=r"^reading the files of .* takes longer than 0\.0 s"):
            apply(plan, rootfs)
    assert (top / "etc/hosts").read_text() == "old"
    assert strays(top) == []


@as_root
@pytest.mark.slow
def test_attack_85_two_syncs_suffice_for_many_copies_on_an_overlay(tmp_path, mounts, monkeypatch):
    """templater synced each copy of an old file separately, while another container wrote without pause."""
    merged = an_overlay(tmp_path, mounts, {f"d/file{n}": "old" for n in range(257)})[3]
    called, fsync, call_libc = [], os.fsync, disk_sync.call_libc
    monkeypatch.setattr(disk_sync.os, "fsync", lambda fd: called.append("fsync") or fsync(fd))
    monkeypatch.setattr(
        disk_sync, "call_libc", lambda name, *words: called.append(name) or call_libc(name, *words)
    )
    before = len(os.listdir("/proc/self/fd"))
    with opened(merged, "") as rootfs:
        apply(a_plan({f"/d/file{n}": "new" for n in range(257)}, rootfs), rootfs)
    assert [name for name in called if name in ("fsync", "syncfs")] == ["syncfs", "fsync"]
    assert len(os.listdir("/proc/self/fd")) == before
    assert all(path.read_text() == "new" for path in (merged / "d").iterdir())


@pytest.fixture
def steps(monkeypatch):
    """Return the list of renames, new names, commits, calls of fsync, and requests to write a file's content."""
    steps = []
    link, rename, fsync, ioctl = oslite.os.link, oslite.os.rename, oslite.os.fsync, fcntl.ioctl

    def request(fd, number, *arguments):
        if number in (disk_sync._WAIT_SYNC, disk_sync._FIEMAP):
            steps.append("commit" if number == disk_sync._WAIT_SYNC else "write")
        return ioctl(fd, number, *arguments)

    def word(name):
        return re.sub(r"\.templater-.*", "temporary", name)

    def linked(old, new, **options):
        steps.append(f"link {word(new)}")
        return link(old, new, **options)

    def renamed(old, new, **options):
        steps.append(f"rename {word(new)}")
        return rename(old, new, **options)

    monkeypatch.setattr(oslite.os, "link", linked)
    monkeypatch.setattr(oslite.os, "rename", renamed)
    monkeypatch.setattr(oslite.os, "fsync", lambda fd: steps.append("fsync") or fsync(fd))
    monkeypatch.setattr(fcntl, "ioctl", request)
    return steps


@pytest.mark.slow
@as_root
@pytest.mark.parametrize("kind", ["btrfs", "overlay"])
@pytest.mark.parametrize("mode", ["durable", "in order", "not durable"])
@pytest.mark.parametrize("many", [False, True])
def test_attack_85_apply_on_btrfs_never_calls_fsync(tmp_path, mounts, steps, mode, kind, many, monkeypatch):
    """The kernel wrote gigabytes of attributes of other files, which the container's root user chose.

    The user renamed a file in the directory of a target, or replaced a target by another file, and then
    stopped the container. fsync of the directory took six seconds, and the rename half a second. A commit
    or an fsync also waited for another container that synced a file with many attributes in a loop.
    """
    monkeypatch.setattr(disk_sync, "MOST_FSYNCS", 0 if many else 9)
    place = mounts.btrfs(tmp_path)
    (place / "state").mkdir()
    top = place / "root"
    if kind == "overlay":
        top = place / "merged"
        folders = [a_directory(place / name, {}) for name in ("lower", "upper", "work", "merged")]
        mounts.overlay(*folders, "index=off")
    a_directory(top, {"etc/hosts": "old"})
    files = {"/etc/hosts": "new", "/srv/file": "new"}
    with Root(str(place / "state")) as folder, folder.directory("/") as state, opened(top) as rootfs:
        apply(
            a_plan(files, rootfs), rootfs, journal=Journal(state), durable=mode != "not durable",
            waits=mode == "durable",
        )  # fmt: skip
    commit = ["commit"] if mode == "durable" else []
    write, journal = ([], []) if mode == "not durable" else (["write"], ["link journal.new"])
    copy = write if kind == "overlay" else []
    assert steps == [
        *commit, *write, *journal, "rename journal", "link temporary", "rename srv",
        *copy, *write * 2, "link temporary", "rename hosts", "link file", *commit,
    ]  # fmt: skip
    assert (top / "srv/file").read_text() == "new"


@as_root
def test_file_on_mounted_btrfs_is_not_synced_by_fsync(tmp_path, mounts, steps):
    top = a_directory(tmp_path / "root", {"data": None})
    place = mounts.btrfs(tmp_path)
    mounts.bind(place, top / "data")
    (place / "file").write_text("old")
    with opened(top, cross_mounts=True) as rootfs:
        apply(a_plan({"/data/file": "new"}, rootfs, in_place=True), rootfs)
    assert (place / "file").read_text() == "new"
    assert [step for step in steps if step != "link temporary"] == ["write", "rename file", "commit"]


@as_root
def test_attack_85_a_hook_examines_each_overlay_mount_on_btrfs_only_once(tmp_path, mounts, monkeypatch):
    """The hook read the host's mounts twice for each target: 74 seconds for 9,999 targets and 300 mounts."""
    place = mounts.btrfs(tmp_path)
    mounts.overlay(
        *(a_directory(place / name, {}) for name in ("lower", "upper", "work", "top")), "index=off"
    )
    read = []
    real = disk_sync._upper_layer
    monkeypatch.setattr(disk_sync, "_upper_layer", lambda fd: read.append(fd) or real(fd))
    with opened(place / "top", cross_mounts=True) as rootfs:
        files = {f"/srv/{n % 5}/{n}": "new" for n in range(20)}
        apply(a_plan(files, rootfs, in_place=True), rootfs, waits=False)
    assert len(read) == 2  # for the mount itself, and for the root that it is compared with


def test_apply_syncs_nothing_if_the_durable_argument_is_false(rootfs, syncs):
    apply(a_plan({f"/etc/file{n}": "new" for n in range(257)}, rootfs), rootfs, durable=False)
    assert syncs == []


def test_a_rollback_keeps_a_new_directory_that_another_process_has_filled(rootfs, top, monkeypatch):
    """overlayfs reads all names of a directory before it refuses to remove the directory."""
    monkeypatch.setattr(remove_leftovers, "MOST_REMOVED", 5000)
    removed = []
    remove = Directory.rmdir_at_end
    monkeypatch.setattr(
        Directory, "rmdir_at_end", lambda self, name: removed.append(name) or remove(self, name)
    )
    fail_to_commit(
        monkeypatch, "/var/x", lambda: [(top / f"srv/{number:0200}").touch() for number in range(300)]
    )
    with pytest.raises(WriteError, match="can't put in place '/var/x'"):
        apply(a_plan({"/opt/y": "y", "/srv/y": "y", "/var/x": "x"}, rootfs), rootfs)
    assert removed == ["opt"]
    assert len(os.listdir(top / "srv")) == 300


@pytest.mark.parametrize("fails", [False, True])
def test_directory_is_created_with_final_name_if_renaming_fails(rootfs, top, monkeypatch, fails):
    """In a user namespace without the option userxattr, overlayfs can't mark the directory as new."""
    rename = Directory.rename

    def no_directories(self, name, to, new):
        if stat.S_ISDIR(self.lstat(name).st_mode):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(self, name, to, new)

    before = snapshot(top)
    monkeypatch.setattr(Directory, "rename", no_directories)
    plan = a_plan({"/srv/a/b/x": "x"}, rootfs)
    if fails:
        fail_to_commit(monkeypatch, "/srv/a/b/x", lambda: None)
        with pytest.raises(WriteError):
            apply(plan, rootfs)
        assert snapshot(top) == before
    else:
        apply(plan, rootfs)
        assert (top / "srv/a/b/x").read_text() == "x"
        assert [mode(top / path) for path in ("srv", "srv/a", "srv/a/b")] == [0o755] * 3
    assert strays(top) == []


@as_root
@pytest.mark.parametrize(("owner", "modes"), [(0, {0o755}), (100_000, {0o700, 0o755})])
def test_new_directory_is_created_with_its_final_mode(top, monkeypatch, owner, modes):
    """A killed run left a directory that only root could enter, and no later run corrected its mode."""
    seen = set()

    def no_directories(self, name, to, new):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def watched(call):
        def watch(*arguments):
            seen.update([mode(top / "srv/a")] if (top / "srv/a").exists() else [])
            call(*arguments)

        return watch

    os.chown(top, owner, owner)
    monkeypatch.setattr(Directory, "rename", no_directories)
    for name in ("fchown", "fchmod"):
        monkeypatch.setattr(oslite.os, name, watched(getattr(os, name)))
    with opened(top) as rootfs:
        apply(a_plan({"/srv/a/x": "x"}, rootfs), rootfs)
    assert seen == modes
    assert [mode(top / path) for path in ("srv", "srv/a")] == [0o755] * 2
    assert {(top / path).stat().st_uid for path in ("srv", "srv/a", "srv/a/x")} == {owner}


def test_apply_refuses_to_replace_a_new_directory_of_another_process(rootfs, top, monkeypatch):
    """overlayfs reads all names of a directory before it refuses to replace the directory."""
    plan = a_plan({"/srv/a/x": "x"}, rootfs)
    make = Directory.mkdir
    monkeypatch.setattr(
        Directory, "mkdir", lambda self, name, mode: make(self, name, mode) or (top / "srv").mkdir()
    )
    with pytest.raises(
        RefusedError, match=r"^another process created '/srv' while templater was creating it$"
    ):
        apply(plan, rootfs)
    assert os.listdir(top / "srv") == strays(top) == []


@pytest.fixture
def clock(monkeypatch):
    """Return a clock of seconds. Each call of ``Directory`` that changes names takes a second."""

    class Clock:
        now = 0.0
        #: the seconds that a rename takes
        rename = 1.0

    def slow(self, *arguments, call, name):
        Clock.now += Clock.rename if name == "rename_held" else 1.0
        return call(self, *arguments)

    monkeypatch.setattr(transaction, "monotonic", lambda: Clock.now)
    for name in ("create_unnamed", "link", "mkdir", "name_unnamed", "rename_held", "unlink"):
        call = partialmethod(slow, call=getattr(Directory, name), name=name)
        monkeypatch.setattr(Directory, name, call)
    return Clock


@pytest.mark.parametrize("kind", ["new files", "old files", "directories"])
def test_attack_89_apply_ends_before_deadline_despite_syncs_of_each_name(rootfs, top, clock, kind):
    """With the flags of `chattr +S +D`, the kernel syncs each change of a directory."""
    if kind == "old files":
        a_directory(top, {f"var/file{n}": "old" for n in range(100)})
    plan = a_plan({f"/var{f'/{n}' * (kind == 'directories')}/file{n}": "new" for n in range(100)}, rootfs)
    before = snapshot(top)
    with pytest.raises(
        LimitError, match=r"^preparing all files takes longer than 15\.0 s, so the time left would"
    ):
        apply(plan, rootfs, deadline=60)
    assert snapshot(top) == before
    assert strays(top) == []
    assert 15 < clock.now < 60


def test_attack_89_apply_restores_all_files_if_the_final_renames_take_too_long(rootfs, top, clock):
    """A process of a running container could set the flags S and D after the files were prepared."""
    a_directory(top, {f"var/file{n}": "old" for n in range(20)})
    plan = a_plan({f"/var/file{n}": "new" for n in range(20)}, rootfs)
    before = snapshot(top)
    clock.rename = 10.0
    with pytest.raises(
        LimitError, match=r"^putting all files in place takes longer than 86\.7 s, so the time left"
    ):
        apply(plan, rootfs, deadline=300)
    assert snapshot(top) == before
    assert strays(top) == []


def test_next_apply_removes_backup_left_behind_at_the_deadline(rootfs, top, clock):
    clock.rename = 100.0
    apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs, deadline=50)
    assert (top / "etc/hosts").read_text() == "new"
    assert len(strays(top)) == 1
    apply(a_plan({"/etc/hosts": "new"}, rootfs), rootfs)
    assert strays(top) == []
