"""Names in an open directory: created, renamed and removed, also if another process moves the directory."""

import errno
import os

import pytest

from templater.model.errors import RefusedError


def test_an_open_directory_creates_and_renames_entries(root, tmp_path):
    with root.directory("/etc") as etc:
        os.close(etc.create("new"))
        with pytest.raises(FileExistsError):
            etc.create("new")
        etc.rename("new", etc, "newer")
        etc.mkdir("d")
        etc.symlink("/x", "l")
        etc.link("newer", etc, "twin")
        assert etc.listdir() == ["d", "hostname", "l", "newer", "twin"]
        assert etc.entry("l").target == "/x"
        etc.unlink("l")
        etc.rmdir("d")


def test_an_open_directory_refuses_symlinks(root):
    with root.directory("/") as top:
        with pytest.raises(RefusedError, match=r"^'/inner' is a symlink, not a regular file$"):
            top.open("inner")
        with pytest.raises(OSError) as caught:
            top.directory("abs")
        assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR)


def test_creating_a_file_never_follows_a_dangling_link(root, tmp_path):
    (tmp_path / "root/etc/bait").symlink_to(tmp_path / "host/made")
    with root.directory("/etc") as etc, pytest.raises(FileExistsError):
        etc.create("bait")
    assert not (tmp_path / "host/made").exists()


def test_file_operations_stay_in_a_directory_that_has_moved(root, tmp_path):
    with root.directory("/etc") as etc:
        os.rename(tmp_path / "root/etc", tmp_path / "root/moved")
        (tmp_path / "root/etc").symlink_to(tmp_path / "host")
        os.close(etc.create("x"))
    assert (tmp_path / "root/moved/x").exists()
    assert not (tmp_path / "host/x").exists()
