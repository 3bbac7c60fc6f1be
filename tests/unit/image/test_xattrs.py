"""Extended attributes of symbolic links, which only root can set."""

import os

from templater.image.xattrs import xattrs_of_link
from tests.rootfs_builders import as_root


@as_root
def test_attributes_of_a_symlink_are_read_without_following_it(tmp_path):
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to("target")
    os.setxattr(tmp_path / "target", "trusted.other", b"of the target")
    os.setxattr(tmp_path / "link", "trusted.note", b"of the link", follow_symlinks=False)
    directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert xattrs_of_link(directory, "link") == {"trusted.note": b"of the link"}
        assert xattrs_of_link(directory, "missing") == {}
    finally:
        os.close(directory)
