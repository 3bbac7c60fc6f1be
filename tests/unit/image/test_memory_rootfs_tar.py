"""A tar archive of a root filesystem in memory."""

import io
import os
import tarfile

import pytest

from templater.image.memory_rootfs_tar import save_tar, write_tar
from templater.model.entry import SOCKET, Entry
from templater.model.errors import InputError, WriteError
from templater.model.plan import carry_out
from templater.rootfs.memory_rootfs import MemoryRootfs
from tests.rootfs_builders import a_plan


def packed(tree: MemoryRootfs) -> bytes:
    buffer = io.BytesIO()
    write_tar(tree, buffer.write)
    return buffer.getvalue()


def test_saving_a_tar_keeps_file_owners_without_root_privileges(tmp_path):
    built = MemoryRootfs()
    carry_out(a_plan({"/etc/a/b": "text"}, None, uid="33", gid="44", mode="0600").files(), built)
    save_tar(built, tmp_path / "out.tar")
    with tarfile.open(tmp_path / "out.tar") as read:
        seen = [(m.name, m.mode, m.uid, m.gid, m.mtime, m.isdir()) for m in read]
    assert seen == [
        ("etc", 0o755, 0, 0, 0, True),
        ("etc/a", 0o755, 0, 0, 0, True),
        ("etc/a/b", 0o600, 33, 44, 0, False),
    ]
    assert os.listdir(tmp_path) == ["out.tar"]
    assert (tmp_path / "out.tar").stat().st_mode & 0o777 == 0o600


def test_equal_files_and_source_dates_give_equal_tar_files(monkeypatch):
    def data(*order: str) -> bytes:
        built = MemoryRootfs()
        for name in order:
            built.write(name, name.encode())
        return packed(built)

    assert data("/a", "/b") == data("/b", "/a")
    plain = data("/a")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert data("/a") != plain
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(InputError, match=r"^SOURCE_DATE_EPOCH is 'yesterday', not a number of seconds$"):
        data("/a")


def test_saving_a_plan_as_a_tar_refuses_a_socket():
    with pytest.raises(WriteError, match=r"^'/run/s' is a socket, which a tar archive can't contain$"):
        packed(MemoryRootfs({"/run/s": Entry(SOCKET)}))
