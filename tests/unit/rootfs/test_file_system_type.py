"""The type of a file system, which the kernel tells about each open file."""

import errno
import os
import sys

import pytest

from templater.rootfs import file_system_type
from templater.rootfs.file_system_type import is_overlay
from tests.rootfs_builders import as_root


@pytest.fixture
def opened(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@as_root
def test_an_overlay_is_recognised_by_any_of_its_directories(tmp_path, mounts):
    folders = [tmp_path / name for name in ("lower", "upper", "work", "merged")]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "etc").mkdir()
    mounts.overlay(*folders, "index=off")
    found = []
    for place in (folders[3], folders[3] / "etc", folders[0]):
        fd = os.open(place, os.O_RDONLY)
        found.append(is_overlay(fd))
        os.close(fd)
    assert found == [True, True, False]


@pytest.mark.parametrize("why", ["another system", "an error"])
def test_a_file_system_of_unknown_type_is_not_an_overlay(opened, monkeypatch, why):
    """On macOS, the structure of fstatfs is larger."""

    def fail(*_):
        assert why == "an error"
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(file_system_type, "call_libc", fail)
    if why == "another system":
        monkeypatch.setattr(sys, "platform", "darwin")
    assert not is_overlay(opened)
