"""Leftovers of killed runs: which temporary files are removed, and when the journal is kept."""

import errno
import fcntl
import itertools
import os

import pytest

from templater.model.errors import LimitError
from templater.rootfs import disk_sync, regular_files
from templater.rootfs.confined_directory import Directory
from templater.rootfs.confined_root import Root
from templater.writing import remove_leftovers
from templater.writing.remove_leftovers import PREFIX, Journal, sweep
from tests.rootfs_builders import as_root


@pytest.fixture
def top(tmp_path):
    (tmp_path / "top/etc").mkdir(parents=True)
    (tmp_path / "state").mkdir()
    return tmp_path / "top"


@pytest.mark.parametrize(
    ("name", "make", "remains"),
    [
        ("cc-0-1", lambda path: path.touch(), False),
        ("cc-0-1", lambda path: path.write_text("x"), True),
        ("known-0-1", lambda path: path.write_text("x"), False),
        ("known-5-1", lambda path: path.write_text("x"), False),
        ("cc-5-1", lambda path: path.touch(), True),
        ("known-0-1", lambda path: path.mkdir(), False),
        ("cc-0-1", lambda path: path.mkdir(), True),
        ("known-0-1", lambda path: (path / "below").mkdir(parents=True), True),
        ("known-5-1", lambda path: path.mkdir(), True),
        ("known-0-1", os.mkfifo, True),
        ("known-0-1", lambda path: path.symlink_to("x"), True),
        ("known", lambda path: path.touch(), True),
        ("known-x-1", lambda path: path.touch(), True),
        ("known-0-1", lambda path: None, False),
    ],
)
def test_only_temporary_files_of_earlier_runs_are_removed(name, make, remains, top):
    path = top / f"{PREFIX}{name}"
    make(path)
    with Root(str(top)) as root, root.directory("/") as directory:
        assert remove_leftovers.Search(root, {"known": 0}).remove(directory, path.name) is True
    assert os.path.lexists(path) is remains


@pytest.mark.parametrize(
    ("mode", "inside", "remains"),
    [
        (0o700, {"known-0-1": "x", "cc-0-1": ""}, False),
        (0o750, {"known-0-1": "x"}, True),
        (0o700, {"cc-0-1": "x"}, True),
        (0o700, {"other": ""}, True),
        (0o700, {}, False),
    ],
)
def test_private_directory_with_only_old_temporary_files_is_removed(top, mode, inside, remains):
    place = top / f"{PREFIX}known-0-1"
    place.mkdir()
    place.chmod(mode)
    for name, text in inside.items():
        (place / (name if name == "other" else PREFIX + name)).write_text(text)
    with Root(str(top)) as root, root.directory("/") as directory:
        assert remove_leftovers.Search(root, {"known": 0}).remove(directory, place.name) is True
    assert place.exists() is remains
    assert not remains or len(os.listdir(place)) == len(inside)


@as_root
def test_files_in_directory_of_another_user_are_not_removed(top):
    place = top / f"{PREFIX}known-0-1"
    place.mkdir(mode=0o700)
    (place / f"{PREFIX}known-0-2").touch()
    os.chown(place, 1000, 1000)
    with Root(str(top)) as root, root.directory("/") as directory:
        assert remove_leftovers.Search(root, {"known": 0}).remove(directory, place.name) is True
    assert len(os.listdir(place)) == 1


def test_the_search_for_leftovers_enters_no_subdirectory_of_a_private_directory(top):
    inner = top / f"{PREFIX}known-0-1" / f"{PREFIX}known-0-2"
    inner.mkdir(parents=True)
    for place in (inner, inner.parent):
        place.chmod(0o700)
    (inner / f"{PREFIX}known-0-3").touch()
    with Root(str(top)) as root, root.directory("/") as directory:
        assert remove_leftovers.Search(root, {"known": 0}).remove(directory, inner.parent.name) is True
    assert len(os.listdir(inner)) == 1


@pytest.mark.parametrize("limit", ["MOST_NAMES", "MOST_LEFTOVERS", "MOST_BYTES"])
def test_directory_with_too_many_leftovers_stays_for_next_run(top, monkeypatch, limit):
    place = top / f"{PREFIX}known-0-1"
    place.mkdir(mode=0o700)
    for number in range(3):
        (place / f"{PREFIX}known-0-{number}").touch()
    with Root(str(top)) as root, root.directory("/") as directory:
        with monkeypatch.context() as patch:
            patch.setattr(remove_leftovers, limit, 2 if limit != "MOST_BYTES" else -1)
            assert remove_leftovers.Search(root, {"known": 0}).remove(directory, place.name) is False
        assert place.exists()
        assert remove_leftovers.Search(root, {"known": 0}).remove(directory, place.name) is True
    assert not place.exists()


@pytest.mark.parametrize("right", [True, False])
def test_leftover_with_a_wrong_inode_number_is_not_removed(right, top):
    (top / "f").write_text("x")
    inode = (top / "f").stat().st_ino
    path = top / f"{PREFIX}cc-{inode if right else inode + 1}-1"
    (top / "f").rename(path)
    with Root(str(top)) as root, root.directory("/") as directory:
        assert remove_leftovers.Search(root, {}).remove(directory, path.name)
    assert path.exists() is not right


@pytest.mark.parametrize(
    ("number", "done"),
    [(errno.EPERM, False), (errno.EIO, False), (errno.ENOENT, True), (errno.ENOTEMPTY, True)],
)
def test_the_next_run_retries_a_failed_removal_of_a_leftover(number, done, top, monkeypatch):
    (top / f"etc/{PREFIX}cc-0-1").touch()

    def fail(*_):
        raise OSError(number, os.strerror(number))

    state = top.parent / "state"
    with Root(str(state)) as folder, folder.directory("/") as directory, Root(str(top)) as root:
        journal = Journal(directory)
        journal.write(["cc", "/etc", "/none/below", "/none/other", "/var"])
        with monkeypatch.context() as patch:
            real = Directory.unlink
            patch.setattr(
                Directory, "unlink", lambda opened, name: (fail if name[:1] == "." else real)(*(opened, name))
            )
            lines = sweep(root, [], journal)
        assert lines == ([] if done else ["cc", "/etc", "/none/below", "/none/other", "/var"])
        assert journal.read() == (lines or None)
        assert sweep(root, [], journal) == []
        assert journal.read() is None
        assert sweep(root, ["/etc/hosts"], None) == []
    assert os.listdir(top / "etc") == []


@pytest.mark.parametrize("is_own", [False, True])
def test_leftovers_stay_in_a_directory_that_another_run_has_locked(top, is_own):
    """The directory was a volume of another container, whose run then could not restore the old file."""
    (top / "srv").mkdir()
    leftover = top / "srv" / f"{PREFIX}known-0-1"
    leftover.touch()
    fd = os.open(top / "srv", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    (top / "state").mkdir(mode=0o700)
    with Root(str(top)) as root, Root(str(top / "state")) as state, state.directory("/") as directory:
        journal = Journal(directory)
        journal.write(["known-1", "/srv"])
        left = sweep(root, ["/srv/x"], journal, held=[fd] if is_own else [])
        assert (left, leftover.exists()) == (([], False) if is_own else (["known-1", "/srv"], True))
        os.close(fd)
        assert sweep(root, ["/srv/x"], journal) == []
    assert not leftover.exists()


def test_an_empty_journal_makes_the_next_run_search_the_root_directory(top):
    """A power cut during a run without fsync can leave a journal without its content."""
    (top / f"{PREFIX}cc-0-1").touch()
    (top.parent / "state/journal").touch()
    with (
        Root(str(top.parent / "state")) as folder,
        folder.directory("/") as directory,
        Root(str(top)) as root,
    ):
        assert sweep(root, [], Journal(directory)) == []
    assert os.listdir(top) == ["etc"]
    assert os.listdir(top.parent / "state") == []


@pytest.mark.parametrize("old", [None, b"aa-1\0/etc"])
def test_journal_is_found_even_if_its_rename_was_lost(top, old):
    """The state directory can be on another disk than the root filesystem, which keeps the temporary files."""
    for token in ("aa", "bb"):
        (top / f"etc/{PREFIX}{token}-0-1").write_text("x")
    (top.parent / "state/journal.new").write_bytes(b"bb-1\0/etc")
    if old is not None:
        (top.parent / "state/journal").write_bytes(old)
    with (
        Root(str(top.parent / "state")) as folder,
        folder.directory("/") as directory,
        Root(str(top)) as root,
    ):
        assert sweep(root, [], Journal(directory)) == []
    assert os.listdir(top / "etc") == ([f"{PREFIX}aa-0-1"] if old is None else [])
    assert os.listdir(top.parent / "state") == []


@as_root
@pytest.mark.parametrize("name", ["journal", "journal.new"])
@pytest.mark.parametrize(
    ("owner", "size", "result"), [(1234, 0, ["cc-1", "/etc"]), (1234, (1 << 20) + 1, ""), (5678, 0, None)]
)
def test_attack_87_large_journal_of_an_ordinary_user_is_not_read(top, name, monkeypatch, owner, size, result):
    """To read a journal of 16 MiB, the kernel decompressed 512 MiB.

    No limit on processor time counts this work.
    """
    state = top.parent / "state"
    (state / name).write_bytes(b"cc-1\0/etc")
    if size:
        os.truncate(state / name, size)
    os.chown(state, 1234, 1234)
    os.chown(state / name, owner, owner)
    with Root(str(state)) as folder, folder.directory("/") as directory:
        if not result:
            monkeypatch.setattr(regular_files, "read_descriptor", None)
        if result == "":
            with pytest.raises(LimitError, match="is larger than 1048576 bytes"):
                Journal(directory).read()
        else:
            assert Journal(directory).read() == result


@pytest.mark.parametrize("is_on_btrfs", [False, True])
def test_a_new_journal_replaces_the_journal_of_a_killed_run(top, monkeypatch, is_on_btrfs):
    state = top.parent / "state"
    (state / "journal.new").write_text("left")
    names = []
    monkeypatch.setattr(disk_sync, "is_on_btrfs", lambda fd: is_on_btrfs)
    call = (disk_sync, "write_content") if is_on_btrfs else (disk_sync.os, "fsync")
    monkeypatch.setattr(*call, lambda fd: not names.append(os.listdir(state)))
    with Root(str(state)) as folder, folder.directory("/") as directory:
        Journal(directory).write(["line"])
    assert names == [[] if is_on_btrfs else ["journal.new"]]
    assert (state / "journal").read_text() == "line"
    assert os.listdir(state) == ["journal"]


def test_search_removes_directories_only_up_to_a_total_size(top, monkeypatch):
    """overlayfs reads all names of a directory before it removes the directory."""
    folders = [top / f"{PREFIX}known-0-{number}" for number in (1, 2)]
    for folder in folders:
        folder.mkdir()
    size = folders[0].stat().st_size
    monkeypatch.setattr(remove_leftovers, "MOST_REMOVED", size * 3 // 2)
    (top / f"{PREFIX}known-0-3").touch()
    left = []
    with Root(str(top)) as root:
        for _ in range(2):
            search = remove_leftovers.Search(root, {"known": 0})
            left.append((search.clear("/"), len(os.listdir(top))))
    assert left == [(False, 2) if size else (True, 1), (True, 1)]  # btrfs reports a size of 0


@as_root
@pytest.mark.parametrize("tokens", [{"known": 1}, {}])
@pytest.mark.parametrize("cross_mounts", [True, False])
def test_leftovers_on_volume_are_removed_only_with_journal_entry(top, tmp_path, mounts, tokens, cross_mounts):
    """Two root filesystems shared a volume. An apply removed temporary files of another, running apply."""
    (tmp_path / "volume").mkdir()
    mounts.bind(tmp_path / "volume", top / "etc")
    for place in (top, top / "etc"):
        for token in ("known", "other"):
            file = place / "f"
            file.write_text("x")
            file.rename(place / f"{PREFIX}{token}-{file.stat().st_ino}-1")
            (place / f"{PREFIX}{token}-0-0").mkdir()
    with Root(str(top), cross_mounts=cross_mounts) as root:
        search = remove_leftovers.Search(root, tokens)
        assert search.clear("/") is True
        assert search.clear("/etc") is (True if cross_mounts else None)
    left = sorted(path.name.split("-")[1] for path in (top / "etc").iterdir())
    assert left == (["other"] * 2 if tokens and cross_mounts else ["known"] * 2 + ["other"] * 2)
    assert sorted(os.listdir(top)) == ([f"{PREFIX}other-0-0"] if tokens else []) + ["etc"]


@pytest.mark.parametrize("make", [os.mkdir, lambda path: path.touch()])
def test_attack_80_a_search_leaves_leftovers_above_a_limit_to_the_next_run(top, monkeypatch, make):
    """Forged leftovers on btrfs needed 18 seconds: templater started a process for every 64 leftovers."""
    monkeypatch.setattr(remove_leftovers, "MOST_LEFTOVERS", 3)
    for number in range(5):
        make(top / f"{PREFIX}dd-0-{number}")
    with Root(str(top.parent / "state")) as state, state.directory("/") as directory, Root(str(top)) as root:
        journal = Journal(directory)
        journal.write(["dd-1", "/etc"])
        found = []
        for _ in range(2):
            found.append((sweep(root, [], journal), len(os.listdir(top)), journal.read()))
    assert found == [(["dd-1", "/etc"], 3, ["dd-1", "/etc"]), ([], 1, None)]


def test_attack_80_slow_search_continues_in_the_next_run(top, monkeypatch):
    """With `chattr +S +D`, each of 9,900 removals waited for the disk, and `apply` ran for 10 to 100 seconds."""
    clock = itertools.count(0, 0.9)
    monkeypatch.setattr(remove_leftovers, "monotonic", lambda: next(clock))
    for number in range(5):
        (top / f"{PREFIX}dd-0-{number}").touch()
    with Root(str(top)) as root:
        left = [(remove_leftovers.Search(root, {}).clear("/"), len(os.listdir(top))) for _ in range(3)]
    assert left == [(False, 5), (False, 4), (False, 3)]


@pytest.fixture
def overlay(tmp_path, mounts):
    """Return the lower layer and the mounted overlay."""
    folders = [tmp_path / name for name in ("lower", "upper", "work", "merged")]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "etc").mkdir()
    mounts.overlay(*folders, "index=off")
    return folders[0], folders[3]


def clear(place, tokens):
    with Root(str(place)) as root:
        search = remove_leftovers.Search(root, tokens)
        return search.clear("/"), search.clear("/etc"), search.left


@as_root
def test_search_in_overlay_tries_more_names_after_larger_run(overlay):
    for number in range(9):
        (overlay[1] / f"{PREFIX}cc-0-{number}").touch()
    for number in range(3):
        (overlay[1] / f"etc/{PREFIX}cc-0-{number}").touch()
    assert clear(overlay[1], {"cc": 3, "dd": 1, "ee": 0}) == (
        True,
        True,
        remove_leftovers.MOST_NAMES - 8 - 4 - 4,
    )
    assert sorted(os.listdir(overlay[1])) == [f"{PREFIX}cc-0-8", "etc"]
    assert os.listdir(overlay[1] / "etc") == [f"{PREFIX}cc-0-2"]


@as_root
def test_search_in_overlay_tries_limited_number_of_names(overlay, monkeypatch):
    monkeypatch.setattr(remove_leftovers, "MOST_NAMES", 5)
    (overlay[1] / f"{PREFIX}cc-0-5").touch()
    assert clear(overlay[1], {"cc": 999_999}) == (False, False, 0)
    assert (overlay[1] / f"{PREFIX}cc-0-5").exists()


@as_root
def test_leftovers_stay_in_an_overlay_directory_with_many_extended_attributes(overlay, monkeypatch):
    monkeypatch.setattr("templater.writing.attributes.MOST_ATTRIBUTES", 100)
    lower, merged = overlay
    (lower / f"etc/{PREFIX}cc-0-0").touch()
    try:
        os.setxattr(lower / "etc", "user.a", bytes(100))
    except OSError as error:
        pytest.skip(f"NOT RUN: needs attributes: {error}")
    assert clear(merged, {"cc": 1}) == (True, False, 0)
    assert (merged / f"etc/{PREFIX}cc-0-0").exists()


@as_root
def test_a_directory_in_several_layers_of_an_overlay_is_not_removed(overlay):
    """overlayfs reads all names of such a directory before it refuses to remove the directory."""
    lower, merged = overlay
    for number in (0, 1):
        (merged / f"{PREFIX}cc-0-{number}").mkdir()
    (lower.parent / "upper" / f"{PREFIX}cc-0-2").mkdir()
    (lower / f"{PREFIX}cc-0-2").mkdir()
    assert clear(merged, {"cc": 1})[:2] == (True, True)
    assert sorted(os.listdir(merged)) == [f"{PREFIX}cc-0-2", "etc"]


@as_root
@pytest.mark.parametrize("owner", [0, 1000])
def test_empty_overlay_directory_is_removed_only_with_roots_journal(tmp_path, mounts, owner):
    """btrfs reports one link for every directory, as overlayfs does for a directory in several layers."""
    place = mounts.btrfs(tmp_path)
    folders = [place / name for name in ("lower", "upper", "work", "merged")]
    for folder in (*folders, tmp_path / "state"):
        folder.mkdir()
    mounts.overlay(*folders, "index=off")
    leftover = folders[3] / f"{PREFIX}cc-0-0"
    leftover.mkdir()
    os.chown(tmp_path / "state", owner, owner)
    with (
        Root(str(tmp_path / "state")) as state,
        state.directory("/") as directory,
        Root(str(folders[3])) as root,
    ):
        journal = Journal(directory)
        journal.write(["cc-1", "/"])
        assert sweep(root, [], journal) == []
        assert journal.read() is None
    assert leftover.exists() is (owner == 1000)


@pytest.mark.parametrize(
    ("line", "result"),
    [
        ("0123456789ab-17", ("0123456789ab", 17)),
        ("0123456789ab", ("0123456789ab", 0)),
        ("x/../../etc-17", ("x/../../etc-17", 0)),
        ("..-17", ("..-17", 0)),
        ("cc-1234567", ("cc-1234567", 0)),
        ("cc-\u0661", ("cc-\u0661", 0)),
        ("cc-", ("cc-", 0)),
        ("cc-1-1", ("cc-1-1", 0)),
    ],
)
def test_only_a_valid_journal_line_is_split(line, result):
    assert remove_leftovers._read_token(line) == result
