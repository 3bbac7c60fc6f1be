"""Extended attributes: they are copied from the replaced file to the new one, up to a limit."""

import errno
import os

import pytest

from templater.model.errors import LimitError
from templater.writing import attributes
from templater.writing.attributes import MOST_ATTRIBUTES, CopiedAttributes, drop_inherited_acl
from tests.rootfs_builders import as_root


def copy_attributes(old: int, new: int) -> None:
    CopiedAttributes().copy(old, new, "/etc/x")


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
def test_new_file_gets_selinux_label_of_the_old_file(files):
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
def test_only_errors_about_a_missing_attribute_are_ignored(call, run, harmless, name, monkeypatch):
    def fail(*_):
        raise OSError(getattr(errno, name), name)

    monkeypatch.setattr(attributes.os, call, fail)
    if name in harmless:
        run()
    else:
        with pytest.raises(OSError, match=name):
            run()


@pytest.fixture
def many(monkeypatch):
    """Give each descriptor 9,000 attributes of 64 KiB. Return the list of the attributes that are read."""
    read = []
    monkeypatch.setattr(attributes.os, "listxattr", lambda fd: [f"user.{n}" for n in range(9000)])
    monkeypatch.setattr(attributes.os, "getxattr", lambda fd, name: read.append(name) or bytes(65536))
    monkeypatch.setattr(attributes.os, "setxattr", lambda *_: None)
    return read


@pytest.mark.parametrize(
    "call", [lambda copied: copied.copy(8, 9, "/etc/x"), lambda copied: copied.count(8, "/etc/x")]
)
def test_attack_88_copied_extended_attributes_have_a_total_size_limit_per_run(call, many):
    """With 40 targets of 6,500 attributes each, a start failed after 28 seconds."""
    copied = CopiedAttributes()
    for _ in range(2):
        with pytest.raises(LimitError) as caught:
            call(copied)
        assert caught.value.message == (
            "'/etc/x' has too many or too large extended attributes: one run may copy at most 16777216 bytes"
            " of attributes of the targets and of the directories above them"
        )
        assert (
            caught.value.hint
            == "list the attributes with 'getfattr -d -m -', and remove some with 'setfattr -x'"
        )
    assert len(many) == MOST_ATTRIBUTES // 65536


@pytest.mark.parametrize("name", ["user.overlay.x", "security.capability"])
def test_attack_88_the_size_limit_also_covers_uncopied_attributes(monkeypatch, name):
    """40 targets with 3,400 attributes user.overlay.N had a gigabyte."""
    monkeypatch.setattr(attributes.os, "listxattr", lambda fd: [name])
    monkeypatch.setattr(attributes.os, "getxattr", lambda fd, name: bytes(MOST_ATTRIBUTES // 3))
    copied = CopiedAttributes()
    copied.copy(8, 9, "/etc/x")
    copied.copy(8, 9, "/etc/x")
    with pytest.raises(LimitError, match="'/etc/x' has too many or too large extended attributes"):
        copied.copy(8, 9, "/etc/x")


@pytest.mark.parametrize("number", [errno.E2BIG, errno.ERANGE])
def test_attack_88_file_with_too_long_attribute_list_is_refused(number, monkeypatch):
    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(attributes.os, "listxattr", fail)
    with pytest.raises(LimitError, match="'/etc/x' has too many or too large extended attributes"):
        CopiedAttributes().count(8, "/etc/x")


@pytest.mark.parametrize("name", ["user.overlay.x", "trusted.overlay.x", "security.capability"])
def test_attack_88_uncopied_attributes_are_counted(name, monkeypatch):
    monkeypatch.setattr(attributes.os, "listxattr", lambda fd: [name])
    monkeypatch.setattr(attributes.os, "getxattr", lambda fd, name: bytes(1000))
    copied = CopiedAttributes()
    copied.copy(8, 9, "/etc/x")
    assert copied.room == MOST_ATTRIBUTES - len(name) - 1000 - attributes.ATTRIBUTE_COST


def test_a_backup_has_no_evm_or_overlayfs_attribute(monkeypatch):
    names = ["user.x", "security.capability", "security.ima", "security.evm", "trusted.overlay.x"]
    copied = []
    monkeypatch.setattr(attributes.os, "listxattr", lambda fd: names)
    monkeypatch.setattr(attributes.os, "getxattr", lambda fd, name: b"value")
    monkeypatch.setattr(attributes.os, "setxattr", lambda fd, name, value: copied.append((fd, name)))
    CopiedAttributes().copy(8, 9, "/etc/x", 10)
    assert copied == [(9, "user.x"), *((10, name) for name in names[:3])]


def test_an_unreadable_attribute_is_ignored_unless_it_is_copied(monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(attributes.os, "getxattr", fail)
    monkeypatch.setattr(attributes.os, "listxattr", lambda fd: ["trusted.overlay.x"])
    CopiedAttributes().copy(8, 9, "/etc/x")
    monkeypatch.setattr(attributes.os, "listxattr", lambda fd: ["user.x"])
    with pytest.raises(OSError, match="input/output error"):
        CopiedAttributes().copy(8, 9, "/etc/x")


def test_ten_thousand_targets_may_have_three_usual_attributes_each(monkeypatch):
    usual = {"security.selinux": bytes(40), "system.posix_acl_access": bytes(44), "user.mime_type": bytes(20)}
    monkeypatch.setattr(attributes.os, "listxattr", lambda fd: list(usual))
    monkeypatch.setattr(attributes.os, "getxattr", lambda fd, name: usual[name])
    copied = CopiedAttributes()
    for _ in range(10_000):
        copied.count(8, "/etc/x")


def test_an_unreadable_attribute_value_adds_nothing_to_the_counted_size(monkeypatch):
    def fail(*_):
        raise OSError(errno.ENODATA, "no data")

    monkeypatch.setattr(attributes.os, "listxattr", lambda fd: ["trusted.x"])
    monkeypatch.setattr(attributes.os, "getxattr", fail)
    copied = CopiedAttributes()
    copied.count(8, "/etc")
    assert copied.room == MOST_ATTRIBUTES - len("trusted.x") - attributes.ATTRIBUTE_COST
