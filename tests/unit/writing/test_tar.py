"""Root filesystems in archives: what a view shows of odd ones, and what is built."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from templater.model.entry import DIRECTORY, FILE, SOCKET, SYMLINK, Entry
from templater.model.errors import InputError, LimitError, RefusedError, WriteError
from templater.rootfs.memory import MemoryRootfs
from templater.writing.tar import TarRootfs
from tests.rootfs_builders import a_plan


def archive(path: Path, *members: tuple[str, bytes, bytes | str]) -> Path:
    """Members as (name, type, content or target)."""
    with tarfile.open(path, "w") as packed:
        for name, kind, value in members:
            info = tarfile.TarInfo(name)
            info.type, info.uid, info.gid, info.mode = kind, 5, 6, 0o640
            if isinstance(value, str):
                info.linkname, value = value, b""
            info.size = len(value)
            packed.addfile(info, io.BytesIO(value))
    return path


REG, DIR, SYM, LNK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def test_what_lies_below_a_folder_is_the_root_filesystem(tmp_path):
    path = archive(
        tmp_path / "a.tar",
        ("metadata.yaml", REG, b"x"), ("./rootfs/", DIR, b""), ("./rootfs/etc/hosts", REG, b"h"), ("rootfs2/x", REG, b"n"),
    )  # fmt: skip
    view = TarRootfs.open(path, "rootfs")
    assert [(name, entry.kind) for name, entry in view.walk()] == [("/etc", DIRECTORY), ("/etc/hosts", FILE)]
    assert repr(view.entry("/etc/hosts")) == "Entry('file', 0640, 5:6)"
    assert repr(view.entry("/")) == "Entry('directory', 0640, 5:6)"
    assert view.read("/etc/hosts", 10) == b"h"


def test_the_last_of_two_members_counts_as_after_unpacking(tmp_path):
    path = archive(
        tmp_path / "a.tar",
        ("f", REG, b"old"),
        ("f", SYM, "x"),
        ("d", SYM, "x"),
        ("d", DIR, b""),
        ("d/f", REG, b"n"),
    )
    view = TarRootfs.open(path)
    assert (view.entry("/f").kind, view.entry("/f").target) == (SYMLINK, "x")
    assert view.read("/d/f", 10) == b"n"


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("d", SYM, "/etc"), ("d/shadow", REG, b"x")], "lies below '/d', which is a symlink"),
        ([("d", REG, b""), ("d/e/f", REG, b"x")], "lies below '/d', which is a file"),
        ([("h", LNK, "nothing")], "not in the archive"),
        ([("h", LNK, "../../etc/shadow")], r"'\.\.'"),
        ([("../x", REG, b"")], r"'\.\.'"),
        ([("/x", REG, b"")], "absolute"),
    ],
)
def test_members_that_would_be_unpacked_elsewhere_are_refused(tmp_path, members, says):
    with pytest.raises(RefusedError, match=says):
        TarRootfs.open(archive(tmp_path / "a.tar", *members))


def test_large_contents_are_read_again_and_not_kept(tmp_path):
    large = bytes(range(256)) * 1000
    view = TarRootfs.open(
        archive(tmp_path / "a.tar", ("f", REG, b"first"), ("f", REG, large), ("h", LNK, "f"))
    )
    assert view.entry("/f").size == view.entry("/h").size == len(large)
    assert view.read("/f", len(large)) == view.read("/h", len(large)) == large
    with pytest.raises(LimitError):
        view.read("/f", len(large) - 1)
    (tmp_path / "a.tar").unlink()
    with pytest.raises(InputError):
        view.read("/f", len(large))


def test_a_plan_becomes_an_archive_with_owners_without_being_root(tmp_path):
    built = TarRootfs()
    for change in a_plan({"/etc/a/b": "text"}, None, uid="33", gid="44", mode="0600").files():
        built.carry_out(change)
    built.save(tmp_path / "out.tar")
    with tarfile.open(tmp_path / "out.tar") as packed:
        seen = [(m.name, m.mode, m.uid, m.gid, m.mtime, m.isdir()) for m in packed]
    assert seen == [
        ("etc", 0o755, 0, 0, 0, True),
        ("etc/a", 0o755, 0, 0, 0, True),
        ("etc/a/b", 0o600, 33, 44, 0, False),
    ]
    assert os.listdir(tmp_path) == ["out.tar"]


def test_equal_files_give_equal_bytes_at_the_given_time(monkeypatch):
    def data(*order: str) -> bytes:
        built = TarRootfs()
        for name in order:
            built.tree.write(name, name.encode())
        return built.data()

    assert data("/a", "/b") == data("/b", "/a")
    plain = data("/a")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert data("/a") != plain
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
        data("/a")


def test_a_socket_has_no_place_in_an_archive():
    built = TarRootfs()
    built.tree = MemoryRootfs({"/run/s": Entry(SOCKET)})
    with pytest.raises(WriteError, match="socket"):
        built.data()


def test_large_files_that_are_replaced_are_forgotten(tmp_path):
    view = TarRootfs.open(archive(tmp_path / "a.tar", ("d/f", REG, b"x" * 100_000), ("d", SYM, "e")))
    assert view.entry("/d").kind == SYMLINK
    assert view.entry("/d/f") is None
