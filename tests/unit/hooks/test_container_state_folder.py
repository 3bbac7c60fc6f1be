"""The identity of a machine's root directory."""

import os
import re
import sys
from types import SimpleNamespace

import pytest

from templater.hooks import container_state_folder
from templater.hooks.container_state_folder import directory_identity
from tests.rootfs_builders import as_root

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")


@pytest.mark.parametrize(
    ("inode", "major", "subvolume"), [(256, 0, " abc"), (5, 0, ""), (256, 254, ""), (5, 254, "")]
)
def test_only_a_btrfs_identity_includes_the_file_system_id(inode, major, subvolume, tmp_path, monkeypatch):
    status = SimpleNamespace(st_ino=inode, st_dev=os.makedev(major, 3))
    fake = SimpleNamespace(
        stat=lambda path: status, major=os.major, statvfs=lambda path: SimpleNamespace(f_fsid=0xABC)
    )
    if not directory_identity(str(tmp_path)):
        pytest.skip("the file system records no time of creation")
    monkeypatch.setattr(container_state_folder, "os", fake)
    assert re.fullmatch(rf"{inode} \d{{9,}}\.\d{{9}}{subvolume}", directory_identity(str(tmp_path)))


@as_root
@pytest.mark.parametrize("trouble", ["", "owner", "mode", "read-only", "file"])
def test_an_unusable_directory_for_old_contents_is_ignored(tmp_path, monkeypatch, mounts, trouble):
    path = tmp_path / "templater/old_contents"
    monkeypatch.setattr(container_state_folder, "OLD_CONTENTS", str(path))
    if trouble == "file":
        path.parent.mkdir()
        path.touch()
    elif trouble:
        container_state_folder.open_old_contents(make=True).close()
    if trouble == "owner":
        os.chown(path, 1000, 1000)
    elif trouble == "mode":
        path.chmod(0o777)
    elif trouble == "read-only":
        mounts.tmpfs(path, "ro")
    elif not trouble:
        assert container_state_folder.open_old_contents(make=False) is None and not path.parent.exists()
    found = container_state_folder.open_old_contents(make=True)
    if trouble:
        assert found is None
    else:
        assert os.path.samestat(os.fstat(found.fd), path.stat())
        found.close()
        assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o711, 0o700)


def test_each_directory_has_its_own_identity(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    a, b = (directory_identity(f"{tmp_path}/{name}") for name in ("a", "b"))
    assert a == directory_identity(f"{tmp_path}/a") and (a != b or not a)
    assert directory_identity(f"{tmp_path}/none") == ""
