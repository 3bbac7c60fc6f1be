"""Leftovers of killed runs: which temporary files are removed, and when the journal is kept."""

import errno
import os

import pytest

from templater.rootfs.confined import Directory, Root
from templater.writing import recovery
from templater.writing.recovery import PREFIX, Journal, sweep


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
        ("cc-0-1", lambda path: path.mkdir(), False),
        ("cc-0-1", lambda path: (path / "below").mkdir(parents=True), True),
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
        assert recovery.Search(root, {"known"}).remove(directory, path.name) is True
    assert os.path.lexists(path) is remains


@pytest.mark.parametrize("right", [True, False])
def test_a_leftover_is_removed_only_if_its_name_contains_its_own_inode_number(right, top):
    (top / "f").write_text("x")
    inode = (top / "f").stat().st_ino
    path = top / f"{PREFIX}cc-{inode if right else inode + 1}-1"
    (top / "f").rename(path)
    with Root(str(top)) as root, root.directory("/") as directory:
        assert recovery.Search(root, set()).remove(directory, path.name)
    assert path.exists() is not right


@pytest.mark.parametrize(
    ("number", "done"),
    [(errno.EPERM, False), (errno.EIO, False), (errno.ENOENT, True), (errno.ENOTEMPTY, True)],
)
def test_the_next_run_tries_again_to_remove_a_leftover_that_could_not_be_removed(
    number, done, top, monkeypatch
):
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


def test_an_empty_journal_makes_the_next_run_search_the_root_directory(top):
    """A power cut during a run without fsync can leave the file without its content."""
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


@pytest.mark.parametrize("are_directories", [False, True])
def test_a_search_removes_leftovers_up_to_a_total_size(are_directories, top, monkeypatch):
    """root of a container gave the name of a leftover to a file of 1.2 million extents: 23 s of system time."""
    size = recovery.MOST_REMOVED // 2 + 1
    for path in (top / f"{PREFIX}known-0-1", top / f"{PREFIX}known-0-2"):
        if are_directories:
            path.mkdir()
            monkeypatch.setattr(recovery, "DIRECTORY_COST", size // max(1, path.stat().st_size) + 1)
        else:
            path.touch()
            os.truncate(path, size)
    (top / f"{PREFIX}known-0-3").touch()
    are_limited = not are_directories or (top / f"{PREFIX}known-0-1").stat().st_size > 0  # 0 on btrfs
    left = []
    with Root(str(top)) as root:
        for _ in range(2):
            search = recovery.Search(root, {"known"})
            left.append((search.clear("/"), len(os.listdir(top))))
    assert left == [(False, 2) if are_limited else (True, 1), (True, 1)]
