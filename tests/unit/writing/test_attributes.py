"""Extended attributes: they are copied from the replaced file to the new one."""

import errno
import os

import pytest

from templater.writing import attributes
from templater.writing.attributes import copy_attributes, drop_inherited_acl
from tests.rootfs_builders import as_root


@pytest.fixture
def files(tmp_path):
    """Return two open files on a file system with labels; skip the test without one."""
    old, new = (os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("old", "new"))
    try:
        os.setxattr(old, "security.selinux", b"system_u:object_r:etc_t:s0")
        os.setxattr(old, "user.note", b"kept")
    except OSError:
        pytest.skip("NOT RUN: the file system keeps no such attributes")
    yield old, new
    os.close(old)
    os.close(new)


@as_root
def test_the_selinux_label_of_the_old_file_is_copied_to_the_new_file(files):
    old, new = files
    copy_attributes(old, new)
    assert os.getxattr(new, "security.selinux") == b"system_u:object_r:etc_t:s0"
    assert os.getxattr(new, "user.note") == b"kept"


@as_root
def test_a_wrong_selinux_label_of_the_new_file_is_replaced(files):
    """The directory may give new files a label of its own."""
    old, new = files
    os.setxattr(new, "security.selinux", b"system_u:object_r:tmp_t:s0")
    copy_attributes(old, new)
    assert os.getxattr(new, "security.selinux") == b"system_u:object_r:etc_t:s0"


@as_root
def test_a_correct_selinux_label_is_not_set_again(files, monkeypatch):
    """Setting a label requires a permission that labelled services lack."""
    old, new = files
    os.setxattr(new, "security.selinux", os.getxattr(old, "security.selinux"))
    calls = []
    again = attributes.again
    monkeypatch.setattr(
        attributes, "again", lambda call, *words: calls.append((call.__name__, *words)) or again(call, *words)
    )
    copy_attributes(old, new)
    assert [words[2] for words in calls if words[0] == "setxattr"] == ["user.note"]


@as_root
def test_file_capabilities_are_not_copied_to_the_new_file(files):
    old, new = files
    os.setxattr(old, "security.capability", b"\x01\x00\x00\x02\x00\x04\x00\x00" + bytes(12))
    copy_attributes(old, new)
    assert sorted(os.listxattr(new)) == ["security.selinux", "user.note"]


@pytest.mark.parametrize(
    ("call", "run", "harmless"),
    [
        ("listxattr", lambda: copy_attributes(8, 9), ("ENOTSUP",)),
        ("removexattr", lambda: drop_inherited_acl(9), ("ENOTSUP", "ENODATA")),
    ],
)
@pytest.mark.parametrize("name", ["ENOTSUP", "ENODATA", "EIO", "EPERM"])
def test_only_errors_that_mean_a_missing_attribute_are_ignored(call, run, harmless, name, monkeypatch):
    def fail(*_):
        raise OSError(getattr(errno, name), name)

    monkeypatch.setattr(attributes.os, call, fail)
    if name in harmless:
        run()
    else:
        with pytest.raises(OSError, match=name):
            run()
