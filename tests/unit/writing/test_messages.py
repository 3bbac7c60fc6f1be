"""The message and the hint if the root filesystem has changed since the plan was made."""

import os
import shutil
import stat

import pytest

from templater.model.errors import RefusedError, TemplaterError
from templater.model.hosts import NONE
from templater.model.instance import Instance
from templater.model.metadata import Metadata, Rule
from templater.model.plan import Plan
from templater.planning.decide_changes import decide
from templater.rendering.render import Rendering
from templater.rootfs.confined_directory import Directory
from templater.rootfs.directory_rootfs import DirectoryRootfs
from templater.writing import apply_plan, staged_file
from templater.writing.apply_plan import apply
from templater.writing.new_folder import FolderDestination

AGAIN = "plan again"


def removed(path):
    os.remove(path)


def changed(path):
    path.write_text("longer")


def made_fifo(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def made_link(path):
    path.unlink(missing_ok=True)
    path.symlink_to("x")


@pytest.mark.parametrize(
    ("rule", "act", "path", "message", "hint"),
    [
        ("/etc/old", removed, "etc/old", "'/etc/old' was removed since the plan was made", AGAIN),
        ("/etc/old", made_fifo, "etc/old", "'/etc/old' is a fifo, not a regular file", ""),
        ("/etc/old", made_link, "etc/old", "'/etc/old' is a symlink, not a regular file", ""),
        ("/etc/new", changed, "etc/new", "'/etc/new' has appeared since the plan was made", AGAIN),
        ("/etc/old", shutil.rmtree, "etc", "'/etc' was removed since the plan was made", AGAIN),
        ("/deep/a/b", changed, "deep", "'/deep' has become a file since the plan was made", ""),
        ("/deep/a/b", made_fifo, "deep", "'/deep' has become a fifo since the plan was made", ""),
    ],
)
def test_a_change_of_the_root_filesystem_after_the_plan_is_refused(rule, act, path, message, hint, tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/old").write_text("old")
    with DirectoryRootfs(str(tmp_path)) as rootfs:
        changes = decide([Rendering(Rule(rule, "t", ("create",)), "create", b"new")], rootfs)
        act(tmp_path / path)
        with pytest.raises(TemplaterError) as caught:
            apply(Plan(Metadata(), Instance("c1"), NONE, ("create",), tuple(changes)), rootfs)
    assert (caught.value.message, caught.value.hint) == (message, hint)


BY_MOUNT = "to overwrite the mounted file, use `apply --cross-mounts` or `hook --in-place`"


@pytest.mark.parametrize(
    ("planned", "found", "crossing", "message", "hint"),
    [
        (False, True, True, "'/etc/old' has become a mount point since the plan was made", AGAIN),
        (False, True, False, "'/etc/old' is a mount point, which can't be replaced", BY_MOUNT),
        (True, False, True, "'/etc/old' was unmounted since the plan was made", AGAIN),
        (True, True, True, None, ""),
    ],
)
def test_apply_refuses_a_plan_if_a_mount_has_appeared_or_disappeared(
    planned, found, crossing, message, hint, tmp_path, monkeypatch
):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/old").write_text("old content")
    with DirectoryRootfs(str(tmp_path), cross_mounts=crossing) as rootfs:
        changes = decide([Rendering(Rule("/etc/old", "t", ("create",)), "create", b"new")], rootfs)
        changes[0].in_place = planned
        monkeypatch.setattr(Directory, "is_mount", lambda *_: found)
        plan = Plan(Metadata(), Instance("c1"), NONE, ("create",), tuple(changes))
        if message is None:
            apply(plan, rootfs)
        else:
            with pytest.raises(RefusedError) as caught:
                apply(plan, rootfs)
            assert (caught.value.message, caught.value.hint) == (message, hint)
    assert (tmp_path / "etc/old").read_text() == ("new" if message is None else "old content")


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("moment", ["open", "lstat"])
def test_apply_refuses_a_file_if_another_process_replaces_it_meanwhile(
    in_place, moment, tmp_path, monkeypatch
):
    """The other process keeps the size and the time, so only the inode differs."""
    target = tmp_path / "old"
    target.write_text("old")
    real, calls = getattr(Directory, moment), []

    def late(directory, name, **options):
        calls.append(name)
        # ``lstat`` looks at the target when the apply begins
        if calls.count("old") == (2 if moment == "lstat" else 1) and not (tmp_path / "aside").exists():
            os.rename(target, tmp_path / "aside")
            target.write_text("OLD")
            os.utime(target, ns=(0, os.stat(tmp_path / "aside").st_mtime_ns))
        return real(directory, name, **options)

    with DirectoryRootfs(str(tmp_path), cross_mounts=True) as rootfs:
        changes = decide([Rendering(Rule("/old", "t", ("create",)), "create", b"new")], rootfs)
        changes[0].in_place = in_place
        monkeypatch.setattr(Directory, "is_mount", lambda *_: in_place)
        monkeypatch.setattr(Directory, moment, late)
        plan = Plan(Metadata(), Instance("c1"), NONE, ("create",), tuple(changes))
        with pytest.raises(RefusedError) as caught:
            apply(plan, rootfs)
    assert caught.value.message == "'/old' was replaced since the plan was made"
    assert target.read_text() == "OLD"


def test_apply_keeps_a_target_that_another_process_has_just_created(tmp_path, monkeypatch):
    real = Directory.name_unnamed

    def late(directory, fd, name):
        (tmp_path / name).write_text("of another process")
        real(directory, fd, name)

    monkeypatch.setattr(Directory, "name_unnamed", late)
    with DirectoryRootfs(str(tmp_path)) as rootfs:
        changes = decide([Rendering(Rule("/new", "t", ("create",)), "create", b"new")], rootfs)
        with pytest.raises(RefusedError) as caught:
            apply(Plan(Metadata(), Instance("c1"), NONE, ("create",), tuple(changes)), rootfs)
    assert caught.value.message == "'/new' has appeared since the plan was made"
    assert caught.value.hint == AGAIN
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"new": "of another process"}


@pytest.mark.parametrize("kind", ["new", "old", "mounted"])
@pytest.mark.parametrize("durable", [True, False])
def test_durable_apply_syncs_the_content_of_each_file(durable, kind, tmp_path, monkeypatch):
    if kind != "new":
        (tmp_path / "file").write_text("old")
    real, synced = os.fsync, []

    def fsync(fd):
        synced.append(os.pread(fd, 99, 0) if stat.S_ISREG(os.fstat(fd).st_mode) else None)
        real(fd)

    with DirectoryRootfs(str(tmp_path), cross_mounts=True) as rootfs:
        changes = decide([Rendering(Rule("/file", "t", ("create",)), "create", b"new")], rootfs)
        changes[0].in_place = kind == "mounted"
        monkeypatch.setattr(Directory, "is_mount", lambda *_: kind == "mounted")
        monkeypatch.setattr(staged_file.os, "fsync", fsync)
        apply(Plan(Metadata(), Instance("c1"), NONE, ("create",), tuple(changes)), rootfs, durable=durable)
    assert (b"new" in synced) == durable


def test_a_plan_may_need_only_a_limited_number_of_new_directories(tmp_path, monkeypatch):
    monkeypatch.setattr(apply_plan, "MAX_DIRECTORIES", 2)
    with DirectoryRootfs(str(tmp_path)) as rootfs:
        for path, fails in (("/a/b/c", False), ("/d/e/f/g", True)):
            changes = decide([Rendering(Rule(path, "t", ("create",)), "create", b"new")], rootfs)
            plan = Plan(Metadata(), Instance("c1"), NONE, ("create",), tuple(changes))
            if not fails:
                apply(plan, rootfs)
                continue
            with pytest.raises(TemplaterError) as caught:
                apply(plan, rootfs)
            assert caught.value.message == "the plan needs 3 new directories, more than 2"
            assert caught.value.hint == "put most of the directories into the image"


@pytest.mark.parametrize(
    ("count", "more"), [(1, []), (2, []), (21, []), (22, ["and 1 more errors"]), (24, ["and 3 more errors"])]
)
def test_failed_rules_give_one_error_with_limited_notes(count, more, tmp_path):
    rules = [Rendering(Rule(f"/d{n}", "t", ("create",)), "create", b"new") for n in range(count)]
    for number in range(count):
        (tmp_path / f"d{number}").mkdir()
    with DirectoryRootfs(str(tmp_path)) as rootfs:
        changes = tuple(decide(rules, rootfs))
        with pytest.raises(TemplaterError) as caught:
            apply(Plan(Metadata(), Instance("c1"), NONE, ("create",), changes), rootfs)
    error = caught.value
    assert (error.message, error.hint) == ("'/d0' is a directory, not a regular file", "")
    others = [f"'/d{number}' is a directory, not a regular file" for number in range(1, count)]
    assert list(error.notes) == [*others[:20], *more]


def test_an_output_folder_must_be_new_or_empty(tmp_path):
    FolderDestination(f"{tmp_path}/new")
    FolderDestination(f"{tmp_path}/new")
    (tmp_path / "new/file").write_text("")
    with pytest.raises(RefusedError) as caught:
        FolderDestination(f"{tmp_path}/new")
    assert caught.value.message == f"'{tmp_path}/new' is not empty"
    assert caught.value.hint == "choose a new folder, or use `templater apply` for a rootfs"
