"""Extended attributes: those of symbolic links, which only root can set, and errors."""

import errno
import os
from types import SimpleNamespace

import pytest

from templater.image.xattrs import set_xattr, xattrs_of_entry
from templater.model.errors import WriteError
from tests.rootfs_builders import as_root


@as_root
def test_attributes_of_a_symlink_are_read_without_following_it(tmp_path):
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to("target")
    os.setxattr(tmp_path / "target", "trusted.other", b"of the target")
    os.setxattr(tmp_path / "link", "trusted.note", b"of the link", follow_symlinks=False)
    directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert xattrs_of_entry(directory, "link", "link", 1000) == {"trusted.note": b"of the link"}
        assert xattrs_of_entry(directory, "missing", "missing", 1000) == {}
    finally:
        os.close(directory)


@pytest.mark.parametrize("free", [(1 << 20) + 512, 1 << 20, 0])
@pytest.mark.parametrize("name", ["ENOSPC", "E2BIG", "ERANGE", "ENOTSUP", "EPERM", "EINVAL", "EIO"])
def test_an_unsettable_attribute_is_skipped_or_reported_as_an_error(name, free, monkeypatch):
    """ENOSPC also means that the value is too large, if the file system has free space."""

    def fail(*_):
        raise OSError(getattr(errno, name), name)

    monkeypatch.setattr(os, "setxattr", fail)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free // 512, f_frsize=512))
    if name in ("ENOTSUP", "EPERM", "EINVAL"):
        assert set_xattr(9, "user.a", b"12", "f") is False
    elif name == "EIO" or free <= 1 << 20:
        with pytest.raises(OSError, match=name):
            set_xattr(9, "user.a", b"12", "f")
    else:
        with pytest.raises(WriteError) as caught:
            set_xattr(9, "user.a", b"12", "f")
        words = "this file system can't store the extended attribute 'user.a' of 2 bytes"
        assert caught.value.message == f"'/f': {words}"


def test_the_set_xattr_function_returns_true_on_success(monkeypatch):
    calls = []
    monkeypatch.setattr(os, "setxattr", lambda *words: calls.append(words))
    assert set_xattr(9, "user.a", b"12", "f") is True
    assert calls == [(9, "user.a", b"12")]
