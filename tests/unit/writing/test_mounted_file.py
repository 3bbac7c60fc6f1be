"""Mounted files, which an apply overwrites in place."""

import errno
import fcntl
import os
import re
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from templater.model.errors import BusyError, RefusedError, WriteError
from templater.rootfs import disk_sync
from templater.rootfs.confined_directory import Directory
from templater.rootfs.confined_root import Root
from templater.writing import apply_locks as lock_module
from templater.writing import mounted_file, transaction
from templater.writing.apply_plan import apply
from templater.writing.mounted_file import MountedFile, left_incomplete
from templater.writing.remove_leftovers import Journal
from templater.writing.staged_file import StagedFile
from tests.rootfs_builders import MECHANISMS, a_directory, a_plan, a_rule, as_root, opened

pytestmark = pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="writing needs descriptors")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return a_directory(
        tmp_path / "root", {"etc/hosts": "old", "etc/keep": "same", "etc/other": "", "var/x": ""}
    )


@as_root
@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("text", ["", "n", "longer than it was before"])
def test_apply_writes_a_mount_point_in_place_on_request(top, mounts, mechanism, text):
    mounts.bind(top / "etc/keep", top / "etc/hosts")
    inode = (top / "etc/keep").stat().st_ino
    with opened(top, mechanism, cross_mounts=True) as rootfs:
        plan = a_plan({"/etc/hosts": text, "/etc/new": "x"}, rootfs, in_place=True)
        assert [change.in_place for change in plan.changes] == [True, False]
        apply(plan, rootfs)
    assert (top / "etc/keep").read_text() == text
    assert (top / "etc/keep").stat().st_ino == inode
    assert (top / "etc/new").read_text() == "x"


@as_root
def test_apply_writes_a_mounted_lower_layer_file_with_several_hard_links(top, mounts, tmp_path):
    """When a program opens a file of a lower layer to write, the kernel copies the file.

    The copy has another inode number.
    """
    folders = [tmp_path / name for name in ("lower", "upper", "work", "merged")]
    for folder in folders:
        folder.mkdir()
    (tmp_path / "lower/file").write_text("old")
    (tmp_path / "lower/other").hardlink_to(tmp_path / "lower/file")
    mounts.overlay(*folders, "index=off")
    mounts.bind(tmp_path / "merged/file", top / "etc/hosts")
    with opened(top, cross_mounts=True) as rootfs:
        apply(a_plan({"/etc/hosts": "new"}, rootfs, in_place=True), rootfs)
    assert (tmp_path / "merged/file").read_text() == "new"
    assert (tmp_path / "merged/other").read_text() == "old"


@as_root
def test_apply_restores_a_mount_point_if_its_write_fails(top, mounts, monkeypatch):
    mounts.bind(top / "etc/keep", top / "etc/hosts")

    def fail_once(target: MountedFile) -> None:
        target.committed = True
        os.pwrite(target.fd, b"ga", 0)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(mounted_file.MountedFile, "commit", fail_once)
    with opened(top, cross_mounts=True) as rootfs:
        plan = a_plan({"/etc/hosts": "new", "/etc/new": "x"}, rootfs, in_place=True)
        with pytest.raises(
            WriteError, match=r"^can't put in place '/etc/hosts': input/output error$"
        ) as caught:
            apply(plan, rootfs)
        assert (
            caught.value.hint == "the storage failed: look at the kernel's log (dmesg) before you try again"
        )
    assert (top / "etc/keep").read_text() == "same"
    assert not (top / "etc/new").exists()


@as_root
@pytest.mark.parametrize("is_released", [True, False])
def test_apply_waits_for_the_lock_of_a_mounted_file(top, mounts, is_released, monkeypatch):
    """Two containers that shared a file started at once, and the file had parts of both texts.

    A start that gave up waiting, and wrote without the lock, caused the same damage again.
    """
    mounts.bind(top / "etc/keep", top / "etc/hosts")
    fd = os.open(top / "etc/keep", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    waited = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if is_released:
            fcntl.flock(fd, fcntl.LOCK_UN)
        else:
            monkeypatch.setattr(lock_module.time, "monotonic", lambda: float("inf"))

    monkeypatch.setattr(lock_module.time, "sleep", wait)
    with opened(top, cross_mounts=True) as rootfs:
        plan = a_plan({"/etc/new": "x", "/etc/hosts": "new"}, rootfs, in_place=True)
        if is_released:
            apply(plan, rootfs)
        else:
            with pytest.raises(BusyError, match=rf"^'/etc/hosts' is being written by process {os.getpid()} "):
                apply(plan, rootfs)
    os.close(fd)
    assert len(waited) == 1
    assert (top / "etc/keep").read_text() == ("new" if is_released else "same")
    assert (top / "etc/new").exists() == is_released


@as_root
def test_attack_101_two_containers_can_share_mounted_files_with_rules_in_any_order(tmp_path, mounts):
    """Container A waited for a file that container B had locked, and vice versa. Then both wrote at once."""
    shared = [tmp_path / "first", tmp_path / "second"]
    roots = {}
    for file in shared:
        file.write_text("old")
    for letter, files in (("a", shared), ("b", shared[::-1])):
        top = roots[letter] = a_directory(tmp_path / letter, {"etc/one": "", "etc/two": ""})
        mounts.bind(files[0], top / "etc/one")
        mounts.bind(files[1], top / "etc/two")
    for number in range(5):
        texts = {letter: letter * (100_000 + number + ord(letter)) for letter in roots}
        failed = []

        def start(letter, top, texts=texts, failed=failed):
            try:
                with opened(top, cross_mounts=True) as rootfs:
                    files = {"/etc/one": texts[letter], "/etc/two": texts[letter]}
                    apply(a_plan(files, rootfs, in_place=True), rootfs, durable=False)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=start, args=item) for item in roots.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        first, second = (file.read_text() for file in shared)
        assert first == second
        assert first in texts.values()


@as_root
def test_attack_101_targets_with_the_same_mounted_file_need_equal_contents(top, mounts):
    """The end of the longer content was replaced by NULs."""
    for name in ("hosts", "other"):
        mounts.bind(top / "etc/keep", top / "etc" / name)
    with opened(top, cross_mounts=True) as rootfs:
        plan = a_plan({"/etc/hosts": "short", "/etc/other": "a longer text"}, rootfs, in_place=True)
        with pytest.raises(RefusedError) as refused:
            apply(plan, rootfs)
    assert refused.value.message == (
        "'/etc/hosts' and '/etc/other' are the same file because of a mount, so they can't have different contents"
    )
    assert (top / "etc/keep").read_text() == "same"
    with opened(top, cross_mounts=True) as rootfs:
        plan = a_plan({"/etc/hosts": "equal", "/etc/other": "equal"}, rootfs, in_place=True)
        assert [change.path for change in apply(plan, rootfs)] == ["/etc/hosts", "/etc/other"]
    assert (top / "etc/keep").read_text() == "equal"


@pytest.mark.slow
@as_root
@pytest.mark.parametrize("text", ["text", "other text"])
@pytest.mark.parametrize("now", [None, "old", "text"])
@pytest.mark.parametrize(
    "places",
    [
        {"volume/f": "etc/hosts", "volume/f ": "etc/other"},
        {"volume": "srv", "volume/f": "etc/hosts"},
        {"volume": "etc", "volume/f": "srv/hosts"},
        {"volume": "srv", "volume ": "etc"},
        {"volume": "srv", "volume/new": "etc"},
    ],
)
def test_attack_101_two_rules_for_one_file_must_write_same_content(tmp_path, mounts, places, now, text):
    """Each start overwrote the text of one rule with the text of the other rule."""
    top = a_directory(tmp_path / "root", {"etc/hosts": "", "etc/other": "", "srv/hosts": ""})
    (volume := tmp_path / "volume").mkdir()
    is_nested = "volume/new" in places
    name = "new/f" if is_nested else "f"
    if now is not None or "volume/f" in places or is_nested:
        (volume / name).parent.mkdir(exist_ok=True)
        (volume / name).write_text(now or "")
    if is_nested and now is None:
        (volume / name).unlink()
    for source, place in places.items():
        mounts.bind(tmp_path / source.strip(), top / place)
    files = [place if "/" in place else f"{place}/f" for place in places.values()]
    if is_nested:
        files[0] = "srv/new/f"
    with opened(top, cross_mounts=True) as rootfs:
        plan = a_plan({f"/{files[0]}": "text", f"/{files[1]}": text}, rootfs, in_place=True)
        if text == "text":
            apply(plan, rootfs)
        else:
            with pytest.raises(RefusedError, match="are the same file because of a mount"):
                apply(plan, rootfs)
    inodes = {(top / file).stat().st_ino for file in files if (top / file).exists()}
    if text == "text":
        assert (volume / name).read_text() == "text"
        assert inodes == {(volume / name).stat().st_ino}
    else:
        assert ((volume / name).read_text() if (volume / name).exists() else None) == (
            now if now is not None or "volume/f" not in places else ""
        )


@as_root
@pytest.mark.parametrize("fields", [{"uid": "7"}, {"gid": "7"}, {"mode": "0600"}])
def test_two_rules_for_one_new_file_need_equal_modes(top, mounts, fields):
    """The rule that came first decided whether other users could read the file."""
    mounts.bind(top / "etc", top / "var")
    with opened(top, cross_mounts=True) as rootfs:
        rules = [(a_rule("/var/new"), b"text"), (a_rule("/etc/new", **fields), b"text")]
        with pytest.raises(RefusedError) as refused:
            apply(a_plan(rules, rootfs, in_place=True), rootfs)
        assert refused.value.message == (
            "'/var/new' and '/etc/new' are the same file because of a mount,"
            " so they can't have different owners or modes"
        )
        assert not (top / "etc/new").exists()
        rules = [(a_rule("/var/keep"), b"text"), (a_rule("/etc/keep", **fields), b"text")]
        apply(a_plan(rules, rootfs, in_place=True), rootfs)
    assert (top / "etc/keep").read_text() == "text"


@as_root
@pytest.mark.parametrize("is_written", [True, False])
def test_apply_returns_all_or_no_targets_of_one_file(top, mounts, is_written):
    """apply returned the targets in any order, even if another start had written the file meanwhile."""
    mounts.bind(top / "etc", top / "var")
    files = {f"/{name}": "text" for name in ("var/b", "etc/a", "var/a", "etc/b", "var/other", "etc/other")}
    with opened(top, cross_mounts=True) as rootfs:
        plan = a_plan(files, rootfs, in_place=True)
        if not is_written:
            (top / "etc/other").write_text("text")
        found = [change.path for change in apply(plan, rootfs)]
    assert found == [path for path in files if is_written or not path.endswith("other")]


@as_root
def test_apply_replaces_a_hard_link_and_overwrites_a_mounted_file(top, mounts):
    """Two hard links of one file are different targets, unless one of them is a mount."""
    (top / "etc/link").hardlink_to(top / "etc/other")
    mounts.bind(top / "etc/keep", top / "etc/hosts")
    with opened(top, cross_mounts=True) as rootfs:
        files = {"/etc/link": "a", "/etc/other": "b", "/etc/hosts": "c"}
        apply(a_plan(files, rootfs, in_place=True), rootfs)
    assert {path: (top / path[1:]).read_text() for path in files} == files


@as_root
def test_apply_refuses_changed_file_even_if_plan_keeps_it(top, mounts):
    """The plan saw the text of another start, which then failed and restored the file.

    Nevertheless, the start with the plan succeeded.
    """
    mounts.bind(top / "etc", top / "var")
    with opened(top, cross_mounts=True) as rootfs:
        plan = a_plan({"/var/keep": "same"}, rootfs, in_place=True)
        assert apply(plan, rootfs) == []
        for change in (lambda: (top / "etc/keep").write_text("restored"), (top / "etc/keep").unlink):
            change()
            with pytest.raises(RefusedError, match=r"^'/var/keep' was changed since the plan was made$"):
                apply(plan, rootfs)


@as_root
def test_attack_102_a_mounted_file_is_truncated_only_after_all_syncs_to_disk(top, mounts, monkeypatch):
    """If a sync fails, the old content must fit into the blocks that the file still has."""
    old = "a line of the old file\n" * 1000
    (top / "etc/keep").write_text(old)
    mounts.bind(top / "etc/keep", top / "etc/hosts")
    real = disk_sync.sync_all
    sizes = []

    def fail_at_the_mounted_file(action: str, files: "dict[int, str]") -> None:
        real(action, files)
        if "/etc/hosts" in files.values():
            sizes.append((top / "etc/keep").stat().st_size)
            raise WriteError("the disk is broken")

    monkeypatch.setattr(disk_sync, "sync_all", fail_at_the_mounted_file)
    with opened(top, cross_mounts=True) as rootfs:
        plan = a_plan({"/etc/hosts": "new", "/etc/new": "x"}, rootfs, in_place=True)
        with pytest.raises(WriteError, match="the disk is broken"):
            apply(plan, rootfs)
    assert sizes == [len(old)]
    assert (top / "etc/keep").read_text() == old
    assert not (top / "etc/new").exists()


@as_root
def test_the_new_size_of_a_mounted_file_is_synced(top, mounts, monkeypatch):
    (top / "etc/keep").write_text("a longer text")
    mounts.bind(top / "etc/keep", top / "etc/hosts")
    real = disk_sync.sync_all
    sizes = []

    def sync_all(action: str, files: "dict[int, str]") -> None:
        sizes.extend((path, os.fstat(fd).st_size) for fd, path in files.items() if path == "/etc/hosts")
        real(action, files)

    monkeypatch.setattr(disk_sync, "sync_all", sync_all)
    with opened(top, cross_mounts=True) as rootfs:
        apply(a_plan({"/etc/hosts": "new"}, rootfs, in_place=True), rootfs)
    assert sizes == [("/etc/hosts", len("a longer text")), ("/etc/hosts", len("new"))]


@as_root
def test_restoring_a_mounted_file_needs_no_space(top, mounts, tmp_path, monkeypatch):
    """Other containers can fill a shared volume while another mounted file of the same apply fails."""
    old = "a line of the volume\n" * 50_000
    for name, size, content in (("keep", "4m", old), ("hosts", "16k", "old")):
        (tmp_path / name).mkdir()
        mounts.tmpfs(tmp_path / name, f"size={size}")
        (tmp_path / name / "file").write_text(content)
        mounts.bind(tmp_path / name / "file", top / "etc" / name)
    real = MountedFile.commit

    def fill_before_the_second(target: MountedFile) -> None:
        if target.content != b"new":
            with pytest.raises(OSError), (tmp_path / "keep/fill").open("wb", buffering=0) as filler:
                while True:
                    filler.write(bytes(4096))
        real(target)

    monkeypatch.setattr(MountedFile, "commit", fill_before_the_second)
    with opened(top, cross_mounts=True) as rootfs:
        plan = a_plan({"/etc/keep": "new", "/etc/hosts": "x" * 50_000}, rootfs, in_place=True)
        with pytest.raises(WriteError, match=r"^can't put in place '/etc/hosts': no space left") as caught:
            apply(plan, rootfs)
    assert not any("can't restore" in note for note in caught.value.notes)
    assert (tmp_path / "keep/file").read_text() == old
    assert (tmp_path / "hosts/file").read_text() == "old"


@as_root
def test_attack_102_an_unrestorable_file_is_kept_in_the_state_directory(top, mounts, tmp_path, monkeypatch):
    """On btrfs, each overwrite needs new blocks, and another container can have taken the last ones."""
    for name in ("keep", "hosts"):
        (tmp_path / name).write_text(f"the old text of {name}")
        mounts.bind(tmp_path / name, top / "etc" / name)
    (tmp_path / "state").mkdir(mode=0o700)
    real = MountedFile.commit

    def fill(target: MountedFile) -> None:
        real(target)
        if len(committed := [*committed_before, target]) == 2:
            monkeypatch.setattr(mounted_file, "write_descriptor", fail)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        committed_before[:] = committed

    def fail(fd: int, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    committed_before: list[MountedFile] = []
    monkeypatch.setattr(MountedFile, "commit", fill)
    works = mounted_file.write_descriptor
    with (
        opened(top, cross_mounts=True) as rootfs,
        Root(str(tmp_path / "state")) as root,
        root.directory("/") as state,
    ):
        for text in ("new", "newer"):
            committed_before.clear()
            monkeypatch.setattr(mounted_file, "write_descriptor", works)
            plan = a_plan({"/etc/keep": text, "/etc/hosts": text}, rootfs, in_place=True)
            with pytest.raises(WriteError, match=r"^can't put in place '/etc/") as failed:
                apply(plan, rootfs, journal=Journal(state))
            kept = {path.name: path.read_text() for path in (tmp_path / "state").glob("old-*")}
            for name in ("keep", "hosts"):
                note = next(note for note in failed.value.notes if f"/etc/{name}" in note)
                place = re.fullmatch(
                    rf"can't restore '/etc/{name}': no space left on device; its old content is in"
                    r" '/(old-[0-9a-f-]+)'",
                    note,
                )
                assert place is not None
                assert kept[place[1]] == f"the old text of {name}"
            assert len(kept) == 2
            assert all(path.stat().st_mode & 0o777 == 0o600 for path in (tmp_path / "state").glob("old-*"))
        # after a start that succeeds, a later error would name an outdated content
        monkeypatch.setattr(mounted_file, "write_descriptor", works)
        monkeypatch.setattr(MountedFile, "commit", real)
        # another container can have mounted the same files at other paths
        other = a_directory(tmp_path / "other", {"etc/a": "", "etc/b": ""})
        mounts.bind(tmp_path / "keep", other / "etc/a")
        mounts.bind(tmp_path / "hosts", other / "etc/b")
        with opened(other, cross_mounts=True) as others:
            plan = a_plan({"/etc/a": "new", "/etc/b": "new"}, others, in_place=True)
            apply(plan, others, journal=Journal(state))
        assert not [*(tmp_path / "state").glob("old-*")]


def fail(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def start_that_cannot_restore(top, journal):
    """Apply a plan that overwrites /etc/hosts and fails. Return the name of the copy in its error."""
    with pytest.MonkeyPatch.context() as patch, opened(top, cross_mounts=True) as rootfs:
        patch.setattr(MountedFile, "_restore", fail)
        patch.setattr(MountedFile, "cut", fail)
        with pytest.raises(WriteError) as caught:
            apply(a_plan({"/etc/hosts": "new"}, rootfs, in_place=True), rootfs, journal=journal)
    (note,) = caught.value.notes
    place = re.fullmatch(r".*; its old content is in '(/[^']*)'", note)
    assert place is not None, note
    return place[1]


def is_incomplete(top, journal):
    with opened(top, cross_mounts=True) as rootfs:
        plan = a_plan({"/etc/hosts": "newer"}, rootfs, in_place=True)
        return left_incomplete(plan, rootfs.root, journal) == {"/etc/hosts"}


@pytest.fixture
def state(tmp_path):
    """A state directory."""
    (tmp_path / "state").mkdir(mode=0o700)
    with Root(str(tmp_path / "state")) as root, root.directory("/") as directory:
        yield directory


@as_root
@pytest.mark.parametrize("on_btrfs", [False, True])
def test_the_error_after_a_failed_rollback_names_the_newest_complete_copy(
    top, mounts, tmp_path, monkeypatch, state, on_btrfs
):
    """After a user had changed the file, a failed start named an older copy, and lost the user's text."""
    (tmp_path / "file").write_text("the first text")
    mounts.bind(tmp_path / "file", top / "etc/hosts")
    monkeypatch.setattr(mounted_file, "is_on_btrfs", lambda fd: on_btrfs)
    kept = {}
    for text, end in (("the first text", ""), (None, ""), ("by hand", "-2"), (None, "-2"), ("again", "-3")):
        if text is not None:  # else the file has parts of two texts
            (tmp_path / "file").write_text(text)
            kept[end] = text
        name = start_that_cannot_restore(top, Journal(state))[1:]
        first = name.removesuffix(end)
        found = {path.name: path.read_text() for path in (tmp_path / "state").glob("old-*")}
        assert found == {first + end: text for end, text in kept.items()}
    with opened(top, cross_mounts=True) as rootfs:
        apply(a_plan({"/etc/hosts": "newer"}, rootfs, in_place=True), rootfs, journal=Journal(state))
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == [first, f"{first}-2"]


@as_root
def test_the_number_of_copies_of_one_file_has_a_limit(top, mounts, tmp_path, state):
    (tmp_path / "file").touch()
    mounts.bind(tmp_path / "file", top / "etc/hosts")
    for number in range(11):
        (tmp_path / "file").write_text(f"text {number}")
        name = start_that_cannot_restore(top, Journal(state))[1:]
        assert (tmp_path / "state" / name).read_text() == f"text {number}"
    found = [path.read_text() for path in (tmp_path / "state").glob("old-*")]
    assert sorted(found) == sorted(f"text {number}" for number in (0, 1, 2, 3, 4, 5, 6, 7, 10))


@as_root
@pytest.mark.parametrize("fails", [False, True])
def test_two_files_with_equal_identities_have_separate_copies(tmp_path, mounts, monkeypatch, state, fails):
    """Two volumes were copies of one disk image, and shared the directory for old contents."""
    monkeypatch.setattr(mounted_file, "_identity", lambda fd: "same")
    tops = []
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"text of {name}")
        tops.append(a_directory(tmp_path / f"root-{name}", {"etc/hosts": "", "etc/keep": ""}))
        mounts.bind(tmp_path / name, tops[-1] / "etc/hosts")
    name = start_that_cannot_restore(tops[0], Journal(state))[1:]
    for _ in range(3):
        if fails:
            other = start_that_cannot_restore(tops[1], Journal(state))[1:]
            assert (tmp_path / "state" / other).read_text() == "text of two"
        else:
            with opened(tops[1], cross_mounts=True) as rootfs:
                apply(a_plan({"/etc/hosts": "n"}, rootfs, in_place=True), rootfs, journal=Journal(state))
            (tmp_path / "two").write_text("text of two")
        assert (tmp_path / "state" / name).read_text() == "text of one"


@as_root
def test_a_file_from_a_killed_start_is_not_lost_on_btrfs(top, mounts, tmp_path, monkeypatch, state):
    """The copy of the killed start stayed. A failed start named this old copy instead of its own copy."""
    (tmp_path / "file").write_text("the first text")
    mounts.bind(tmp_path / "file", top / "etc/hosts")
    monkeypatch.setattr(mounted_file, "is_on_btrfs", lambda fd: True)
    with monkeypatch.context() as patch, opened(top, cross_mounts=True) as rootfs:
        patch.setattr(Directory, "unlink_if_same", lambda *words: None)
        patch.setattr(MountedFile, "remove_earlier", lambda target: None)
        apply(a_plan({"/etc/hosts": "text 2"}, rootfs, in_place=True), rootfs, journal=Journal(state))
    assert [path.read_text() for path in (tmp_path / "state").iterdir()] == ["the first text"]
    name = start_that_cannot_restore(top, Journal(state))[1:]
    assert (tmp_path / "state" / name).read_text() == "text 2"


@as_root
def test_file_is_considered_incomplete_after_an_incomplete_rollback(
    top, mounts, tmp_path, state, monkeypatch
):
    """``cp -a`` of the copy gave the file the time of the copy, so --keep-modified overwrote the file."""
    (tmp_path / "file").write_text("the first text")
    mounts.bind(tmp_path / "file", top / "etc/hosts")
    assert not is_incomplete(top, Journal(state))
    copy = tmp_path / "state" / start_that_cannot_restore(top, Journal(state))[1:]
    assert is_incomplete(top, Journal(state))
    with monkeypatch.context() as patch, opened(top, cross_mounts=True) as rootfs:
        patch.setattr(MountedFile, "cut", fail)
        with pytest.raises(WriteError) as caught:  # this start restores the parts of two texts
            apply(a_plan({"/etc/hosts": "newer"}, rootfs, in_place=True), rootfs, journal=Journal(state))
        assert caught.value.notes == ()
    assert is_incomplete(top, Journal(state))
    subprocess.run(["cp", "-a", copy, tmp_path / "file"], check=True)
    assert (tmp_path / "file").read_text() == "the first text"
    assert not is_incomplete(top, Journal(state))


@as_root
def test_incomplete_rollback_is_found_despite_times_in_whole_seconds(top, mounts, tmp_path):
    """The second failed start gave the name of the old copy to parts of both texts.

    The third failed start removed the old text.
    """
    (tmp_path / "file").write_text("the first text")
    mounts.bind(tmp_path / "file", top / "etc/hosts")
    place = mounts.ext4(tmp_path, "-I", "128")
    place.chmod(0o700)
    with Root(str(place)) as root, root.directory("/") as state:
        for _ in range(3):
            copy = place / start_that_cannot_restore(top, Journal(state))[1:]
            assert copy.read_text() == "the first text"
            assert is_incomplete(top, Journal(state))
        now = (tmp_path / "file").stat().st_mtime_ns
        os.utime(tmp_path / "file", ns=(now + 1, now + 1))
        assert not is_incomplete(top, Journal(state))


@as_root
def test_copy_of_old_text_is_kept_after_failed_sync(top, mounts, tmp_path, monkeypatch, state):
    real = mounted_file.again

    def again(call, *words, **options):
        return fail() if call is os.fsync else real(call, *words, **options)

    monkeypatch.setattr(mounted_file, "again", again)
    (tmp_path / "file").write_text("the first text")
    mounts.bind(tmp_path / "file", top / "etc/hosts")
    for _ in range(3):
        name = start_that_cannot_restore(top, Journal(state))[1:]
        assert (tmp_path / "state" / name).read_text() == "the first text"


@as_root
@pytest.mark.parametrize("trouble", ["full", errno.EOPNOTSUPP, errno.EACCES])
def test_a_directory_for_old_contents_is_skipped_if_the_copy_fails(
    top, mounts, tmp_path, monkeypatch, state, trouble
):
    """A start failed because another file system was full, or an incomplete rollback had no copy."""
    (tmp_path / "file").write_text("the first text" * 1000)
    mounts.bind(tmp_path / "file", top / "etc/hosts")
    (lasting := tmp_path / "lasting").mkdir()
    if trouble == "full":
        mounts.tmpfs(lasting, "size=4k")
    else:
        real = Directory.create_unnamed

        def create_unnamed(directory, *words):
            if os.path.samestat(os.fstat(directory.fd), lasting.stat()):
                raise OSError(trouble, "")
            return real(directory, *words)

        monkeypatch.setattr(Directory, "create_unnamed", create_unnamed)
    before = len(os.listdir("/proc/self/fd"))

    def open_lasting(make):
        with Root(str(lasting)) as root:
            return root.directory("/")

    journal = Journal(state, open_lasting=open_lasting)
    name = start_that_cannot_restore(top, journal)[1:]
    assert (tmp_path / "state" / name).read_text() == "the first text" * 1000
    assert is_incomplete(top, journal)
    with opened(top, cross_mounts=True) as rootfs:
        apply(a_plan({"/etc/hosts": "newer"}, rootfs, in_place=True), rootfs, journal=journal)
    assert not [*(tmp_path / "state").iterdir(), *lasting.iterdir()]
    assert len(os.listdir("/proc/self/fd")) == before


def test_identity_of_a_file_contains_its_time_of_creation(tmp_path, monkeypatch):
    """A new file could have the inode number of a removed file, and FUSE has no id of a file system."""
    (tmp_path / "file").touch()
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    status = os.fstat(fd)
    for number, system in ((0xABC, 0xABC), (0, status.st_dev)):
        space = SimpleNamespace(f_fsid=number)
        monkeypatch.setattr(mounted_file, "os", Replaced(os, fstatvfs=lambda fd, space=space: space))
        for time, end in (("", ""), ("12", "-12")):
            monkeypatch.setattr(mounted_file, "birth_time", lambda fd, time=time: time)
            assert mounted_file._identity(fd) == f"{system:x}-{status.st_ino:x}{end}"
    os.close(fd)


@as_root
@pytest.mark.parametrize("is_restored", [False, True])
def test_btrfs_saves_old_content_to_a_file_before_the_overwrite(
    top, mounts, tmp_path, monkeypatch, is_restored
):
    """The overwrite and the rollback used up the space that the name needed, so the old text was lost."""

    def name_on_a_full_disk(directory, fd, name):
        if directory.lstat(name) is not None:
            raise FileExistsError
        fail()

    def commit(target):
        monkeypatch.setattr(Directory, "name_unnamed", name_on_a_full_disk)
        if not is_restored:
            monkeypatch.setattr(MountedFile, "_restore", fail)
        real(target)
        fail()

    real = MountedFile.commit
    (tmp_path / "file").write_bytes(OLD_TEXT)
    mounts.bind(tmp_path / "file", top / "etc/hosts")
    (tmp_path / "state").mkdir(mode=0o700)
    monkeypatch.setattr(mounted_file, "is_on_btrfs", lambda fd: True)
    monkeypatch.setattr(MountedFile, "commit", commit)
    with (
        opened(top, cross_mounts=True) as rootfs,
        Root(str(tmp_path / "state")) as root,
        root.directory("/") as state,
        pytest.raises(WriteError, match="no space left") as caught,
    ):
        apply(a_plan({"/etc/hosts": "new"}, rootfs, in_place=True), rootfs, journal=Journal(state))
    kept = [*(tmp_path / "state").glob("old-*")]
    if is_restored:
        assert (tmp_path / "file").read_bytes() == OLD_TEXT
        assert kept == [] and caught.value.notes == ()
    else:
        assert kept[0].read_bytes() == OLD_TEXT
        (note,) = caught.value.notes
        assert note.endswith(f"no space left on device; its old content is in '/{kept[0].name}'")


@as_root
def test_mounted_files_on_btrfs_need_space_for_both_contents(top, mounts, tmp_path, monkeypatch):
    """Each overwrite takes new blocks, so a full volume kept parts of both texts."""
    (tmp_path / "file").write_bytes(OLD_TEXT)
    mounts.bind(tmp_path / "file", top / "etc/hosts")
    monkeypatch.setattr(disk_sync, "can_order", lambda fd: True)
    needed = 2 * len(OLD_TEXT) + len("new")
    for free in (needed - 1, needed):
        space = SimpleNamespace(f_bavail=free, f_frsize=1, f_files=0, f_fsid=0)
        monkeypatch.setattr(mounted_file, "os", Replaced(os, fstatvfs=lambda fd, space=space: space))
        with opened(top, cross_mounts=True) as rootfs:
            plan = a_plan({"/etc/hosts": "new"}, rootfs, in_place=True)
            if free < needed:
                message = f"^can't overwrite '/etc/hosts': btrfs needs {needed} bytes of free space"
                with pytest.raises(WriteError, match=message):
                    apply(plan, rootfs)
                assert (tmp_path / "file").read_bytes() == OLD_TEXT
            else:
                apply(plan, rootfs)
    assert (tmp_path / "file").read_text() == "new"


class Replaced:
    """A module with other values for some of its names."""

    def __init__(self, module, **names):
        self.__dict__.update(vars(module) | names)


@as_root
def test_rollback_writes_no_zeros_into_holes_of_a_file(top, mounts, tmp_path, monkeypatch):
    """On a full disk, the file was reported as not restored."""
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 20)
    blocks = (tmp_path / "file").stat().st_blocks
    mounts.bind(tmp_path / "file", top / "etc/hosts")

    def write_half(fd, content):
        if content == b"x" * (1 << 20):
            os.write(fd, content[:8192])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(content)
        os.write(fd, content)

    written = []
    monkeypatch.setattr(mounted_file, "write_descriptor", write_half)
    with opened(top, cross_mounts=True) as rootfs:
        plan = a_plan({"/etc/hosts": "x" * (1 << 20)}, rootfs, in_place=True)
        with pytest.raises(WriteError, match="no space left"):
            apply(plan, rootfs)
    assert (tmp_path / "file").read_bytes() == bytes(1 << 20)
    assert written[-2:] == [bytes(4096)] * 2 and len(written) < 10
    assert (tmp_path / "file").stat().st_blocks <= blocks + 16


@as_root
def test_attack_103_the_other_mounted_files_are_restored_after_a_memory_error(
    top, mounts, tmp_path, monkeypatch
):
    for name in ("keep", "hosts", "other"):
        (tmp_path / name).write_text(f"the old text of {name}")
        mounts.bind(tmp_path / name, top / "etc" / name)
    real_commit, real_put_back = MountedFile.commit, MountedFile.put_back
    committed, restored = [], []

    def commit(target):
        real_commit(target)
        committed.append(target)
        if len(committed) == 3:
            raise MemoryError

    def put_back(target):
        restored.append(target.change.real)
        if len(restored) == 1:
            raise MemoryError
        real_put_back(target)

    monkeypatch.setattr(MountedFile, "commit", commit)
    monkeypatch.setattr(MountedFile, "put_back", put_back)
    monkeypatch.setattr(transaction, "_free_memory", lambda error: None)
    with opened(top, cross_mounts=True) as rootfs, pytest.raises(MemoryError) as failed:
        apply(
            a_plan({f"/etc/{name}": "new" for name in ("keep", "hosts", "other")}, rootfs, in_place=True),
            rootfs,
        )
    assert len(restored) == 3
    assert failed.value.__notes__ == ["not enough memory"]
    for path in restored[1:]:
        assert (tmp_path / path.removeprefix("/etc/")).read_text().startswith("the old text of ")


@as_root
def test_all_old_contents_are_saved_before_the_first_overwrite(top, mounts, tmp_path, monkeypatch):
    """The memory grew during the commit, so the kernel killed the hook between two mounted files."""
    for name in ("keep", "hosts"):
        (tmp_path / name).write_text("x" * 300_000)
        mounts.bind(tmp_path / name, top / "etc" / name)
    steps = []
    for step in ("lock", "save", "commit", "cut"):

        def recorded(target, *words, step=step, real=getattr(MountedFile, step)):
            steps.append(step)
            return real(target, *words)

        monkeypatch.setattr(MountedFile, step, recorded)
    with opened(top, cross_mounts=True) as rootfs:
        apply(a_plan({"/etc/keep": "new", "/etc/hosts": "new"}, rootfs, in_place=True), rootfs)
    assert steps == ["lock", "lock", "save", "save", "commit", "commit", "cut", "cut"]


@as_root
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("text", ["by the application\n", "x" * 900])
def test_apply_keeps_text_from_another_process_in_a_mounted_file(
    top, mounts, tmp_path, monkeypatch, fails, text
):
    """Truncating the file to the size of the template's text filled the file with NULs."""
    (tmp_path / "file").write_text("the old text" * 50)
    mounts.bind(tmp_path / "file", top / "etc/hosts")

    def write(*_):
        (tmp_path / "file").write_text(text)
        if fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(transaction.Transaction, "_sync_names", write)
    with opened(top, cross_mounts=True) as rootfs:
        plan = a_plan({"/etc/hosts": "new" * 100, "/etc/new": "x"}, rootfs, in_place=True)
        said = "input/output error" if fails else "another process changed '/etc/hosts' while templater was"
        with pytest.raises((WriteError, RefusedError), match=said):
            apply(plan, rootfs)
    assert (tmp_path / "file").read_text() == text
    assert not (top / "etc/new").exists()


OLD_TEXT = b"old text " * 20


def touched(path):
    os.utime(path)


def appended(path):
    with path.open("ab") as file:
        file.write(b"appended")


def overwritten_at(offset):
    def change(path):
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(b"APP")
        os.utime(path, ns=(1, 1))

    return change


@as_root
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    ("new", "change", "expected", "is_whole"),
    [
        (b"new", touched, OLD_TEXT, True),
        (b"new", appended, OLD_TEXT + b"appended", True),
        (b"new", overwritten_at(9), OLD_TEXT[:9] + b"APP" + OLD_TEXT[12:], False),
        (b"new", overwritten_at(1), b"nAPP" + OLD_TEXT[4:], False),
        (b"new", lambda path: os.truncate(path, 9), OLD_TEXT[:9], False),
        (b"new", lambda path: os.truncate(path, 2), b"ne", False),
        (b"new" * 99, touched, OLD_TEXT, True),
        (b"new" * 99, appended, b"new" * 99 + b"appended", False),
        (b"new" * 99, lambda path: path.write_bytes(b"app"), b"app", False),
    ],
)
def test_a_rollback_restores_the_bytes_that_no_other_process_has_changed(
    top, mounts, tmp_path, monkeypatch, fails, new, change, expected, is_whole
):
    """After ``touch`` or an appended line, a file kept the start of the new and the end of the old text."""
    (tmp_path / "file").write_bytes(OLD_TEXT)
    mounts.bind(tmp_path / "file", top / "etc/hosts")
    (tmp_path / "state").mkdir(mode=0o700)

    def write(*_):
        change(tmp_path / "file")
        if fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(transaction.Transaction, "_sync_names", write)
    with (
        opened(top, cross_mounts=True) as rootfs,
        Root(str(tmp_path / "state")) as root,
        root.directory("/") as state,
    ):
        plan = a_plan({"/etc/hosts": new}, rootfs, in_place=True)
        if change is touched and not fails:
            apply(plan, rootfs, journal=Journal(state))
            assert (tmp_path / "file").read_bytes() == new
            return
        for _ in range(2):
            (tmp_path / "file").write_bytes(OLD_TEXT)
            with pytest.raises((WriteError, RefusedError)) as caught:
                apply(plan, rootfs, journal=Journal(state))
            assert (tmp_path / "file").read_bytes() == expected
    kept = {f"/{path.name}": path.read_bytes() for path in (tmp_path / "state").glob("old-*")}
    assert list(kept.values()) == ([] if is_whole else [OLD_TEXT] * 2)
    assert caught.value.notes == tuple(
        f"can't restore '/etc/hosts': another process has changed it; its old content is in '{place}'"
        for place in kept
        if place.endswith("-2")
    )


@as_root
@pytest.mark.parametrize("change", [appended, overwritten_at(9), lambda path: path.write_bytes(b"app")])
def test_apply_keeps_foreign_changes_to_a_copied_mounted_file(top, mounts, tmp_path, monkeypatch, change):
    """All ordinary files come first, so a user had time to change the file, and lost the change."""
    (tmp_path / "file").write_bytes(OLD_TEXT)
    mounts.bind(tmp_path / "file", top / "etc/hosts")
    real, changed = StagedFile.commit, []

    def commit(target):
        change(tmp_path / "file")
        changed.append((tmp_path / "file").read_bytes())
        real(target)

    monkeypatch.setattr(StagedFile, "commit", commit)
    with opened(top, cross_mounts=True) as rootfs:
        plan = a_plan({"/etc/hosts": "new", "/etc/new": "x"}, rootfs, in_place=True)
        with pytest.raises(
            RefusedError, match=r"^'/etc/hosts' was changed since the plan was made$"
        ) as caught:
            apply(plan, rootfs)
    assert caught.value.notes == ()
    assert [(tmp_path / "file").read_bytes()] == changed
    assert not (top / "etc/new").exists()


@as_root
def test_no_file_is_truncated_if_another_process_changed_one(top, mounts, tmp_path, monkeypatch):
    """Restoring a truncated file needs space, which another container can have taken."""
    for name in ("keep", "hosts"):
        (tmp_path / name).write_bytes(OLD_TEXT)
        mounts.bind(tmp_path / name, top / "etc" / name)
    cut = []
    for name in ("keep", "hosts"):
        monkeypatch.setattr(
            transaction.Transaction, "_sync_names", lambda *_, name=name: appended(tmp_path / name)
        )
        monkeypatch.setattr(MountedFile, "cut", cut.append)
        with opened(top, cross_mounts=True) as rootfs:
            plan = a_plan({"/etc/keep": "new", "/etc/hosts": "new"}, rootfs, in_place=True)
            with pytest.raises(RefusedError, match=f"^another process changed '/etc/{name}' while"):
                apply(plan, rootfs)
    assert cut == []


@as_root
def test_a_rollback_of_a_truncated_file_keeps_appended_text(top, mounts, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(OLD_TEXT)
    mounts.bind(tmp_path / "file", top / "etc/hosts")

    real = MountedFile.cut

    def cut(target):
        real(target)
        appended(tmp_path / "file")
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(MountedFile, "cut", cut)
    with opened(top, cross_mounts=True) as rootfs, pytest.raises(WriteError) as caught:
        apply(a_plan({"/etc/hosts": "new"}, rootfs, in_place=True), rootfs)
    assert caught.value.notes == ("can't restore '/etc/hosts': another process has changed it",)
    assert (tmp_path / "file").read_bytes() == b"newappended"


@as_root
@pytest.mark.parametrize("size", [0, 3, 1000, 600_000])
@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize("with_directory", [False, True])
def test_a_rollback_restores_every_byte(top, mounts, tmp_path, monkeypatch, size, is_cut, with_directory):
    old = os.urandom(size)
    (tmp_path / "file").write_bytes(old)
    mounts.bind(tmp_path / "file", top / "etc/hosts")
    (tmp_path / "state").mkdir(mode=0o700)
    real = MountedFile.cut

    def cut(target):
        if is_cut:
            real(target)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(MountedFile, "cut", cut)
    with (
        opened(top, cross_mounts=True) as rootfs,
        Root(str(tmp_path / "state")) as root,
        root.directory("/") as state,
    ):
        plan = a_plan({"/etc/hosts": "new" * 100}, rootfs, in_place=True)
        with pytest.raises(WriteError):
            apply(plan, rootfs, journal=Journal(state) if with_directory else None)
    assert (tmp_path / "file").read_bytes() == old
    assert not [*(tmp_path / "state").glob("old-*")]


def test_local_variables_are_freed_after_out_of_memory_error(monkeypatch):
    import resource

    monkeypatch.setattr(resource, "setrlimit", lambda limit, pair: None)
    alive = []

    class Large:
        def __del__(self) -> None:
            alive.remove(self.number)

        def __init__(self, number: int) -> None:
            self.number = number
            alive.append(number)

    def fail(depth: int) -> None:
        large = Large(depth)
        if depth:
            fail(depth - 1)
        raise MemoryError(large.number)

    with pytest.raises(MemoryError) as caught:
        fail(3)
    assert len(alive) == 4
    transaction._free_memory(caught.value)
    assert alive == []
