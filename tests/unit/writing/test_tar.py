"""What is built from a plan: archives with owners, and folders."""

import io
import os
import tarfile

import pytest

from templater.model.entry import SOCKET, Entry
from templater.model.errors import InputError, RefusedError, WriteError
from templater.rootfs.memory import MemoryRootfs
from templater.writing.destination import carry_out
from templater.writing.folder import FolderDestination
from templater.writing.tar import TarDestination
from tests.rootfs_builders import a_plan


def packed(destination: TarDestination) -> bytes:
    buffer = io.BytesIO()
    destination.write_to(buffer.write)
    return buffer.getvalue()


def test_a_plan_becomes_an_archive_with_owners_without_being_root(tmp_path):
    built = TarDestination()
    carry_out(a_plan({"/etc/a/b": "text"}, None, uid="33", gid="44", mode="0600").files(), built)
    built.save(tmp_path / "out.tar")
    with tarfile.open(tmp_path / "out.tar") as read:
        seen = [(m.name, m.mode, m.uid, m.gid, m.mtime, m.isdir()) for m in read]
    assert seen == [
        ("etc", 0o755, 0, 0, 0, True),
        ("etc/a", 0o755, 0, 0, 0, True),
        ("etc/a/b", 0o600, 33, 44, 0, False),
    ]
    assert os.listdir(tmp_path) == ["out.tar"]


def test_equal_files_give_equal_bytes_at_the_given_time(monkeypatch):
    def data(*order: str) -> bytes:
        built = TarDestination()
        for name in order:
            built.tree.write(name, name.encode())
        return packed(built)

    assert data("/a", "/b") == data("/b", "/a")
    plain = data("/a")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert data("/a") != plain
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
        data("/a")


def test_a_socket_has_no_place_in_an_archive():
    with pytest.raises(WriteError, match="socket"):
        packed(TarDestination(MemoryRootfs({"/run/s": Entry(SOCKET)})))


def test_a_folder_has_the_files_and_no_setuid_bit(tmp_path):
    target = tmp_path / "out"
    (change,) = a_plan({"/etc/a/b": "text"}, None).files()
    change.mode = 0o4750
    carry_out([change], FolderDestination(str(target)))
    assert (target / "etc/a/b").read_text() == "text"
    assert (target / "etc/a/b").stat().st_mode & 0o7777 == 0o750
    with pytest.raises(RefusedError, match="not empty"):
        FolderDestination(str(target))
