"""Extended attributes: reading them for an image or an audit, and setting them on unpacked files."""

from __future__ import annotations

import errno
import os

from ..model.errors import LimitError, WriteError
from ..model.unprintable_characters import printable
from ..rootfs.system_calls import read_error
from .tar_reader import encoded_attribute

_HOST_XATTRS = ("trusted.overlay.", "security.selinux", "security.ima", "security.evm", "security.SMACK64")
#: the attributes with which a file gives rights
_PRIVILEGES = ("security.capability", "system.posix_acl_access", "system.posix_acl_default")
#: the errors of a file system without extended attributes, and of a file that is gone
_NO_XATTRS = (errno.ENOTSUP, errno.ENOENT)
#: the kernel lists at most 64 KiB of names
_TOO_MANY = (errno.E2BIG, errno.ERANGE)
#: the bytes of a pax record around an attribute's name and value
_RECORD_BYTES = len("1234567 SCHILY.xattr.=\n")


def xattrs_of(fd: int, name: str, most: int) -> dict[str, bytes]:
    """Return the extended attributes of an open file. Omit attributes that belong to the host.

    Raises LimitError if the attributes need more than ``most`` bytes in a pax header. Errors show ``name``.
    """
    return _read(fd, name, most)


def xattrs_of_entry(directory: int, entry: str, name: str, most: int) -> dict[str, bytes]:
    """Return the extended attributes of an entry of a directory, like ``xattrs_of``. No link is followed."""
    return _read(f"/proc/self/fd/{directory}/{entry}", name, most)


def xattr_names(directory: int, entry: str, name: str) -> frozenset[str]:
    """Return the names of an entry's extended attributes. A symbolic link is not followed.

    Raises TemplaterError if the names can't be listed. Errors show ``name``.
    """
    return frozenset(_list(f"/proc/self/fd/{directory}/{entry}", name))


def privilege_names(directory: int, entry: str) -> frozenset[str]:
    """Return the names of an entry's extended attributes that give rights, such as capabilities."""
    # Read each name in ``_PRIVILEGES``. Do not list the attributes, because listing fails for some entries.
    return frozenset(name for name in _PRIVILEGES if _exists(f"/proc/self/fd/{directory}/{entry}", name))


def _exists(path: str, attribute: str) -> bool:
    try:
        os.getxattr(path, attribute, follow_symlinks=False)
    except OSError:
        return False
    return True


def _read(file: int | str, name: str, most: int) -> dict[str, bytes]:
    values: dict[str, bytes] = {}
    left = most
    for attribute in _list(file, name):
        try:
            value = os.getxattr(file, attribute, follow_symlinks=isinstance(file, int))
        except OSError as error:
            raise read_error(printable(name), error) from error
        left -= len(os.fsencode(encoded_attribute(attribute))) + len(value) + _RECORD_BYTES
        if left < 0:
            raise LimitError(
                f"'{printable(name)}' needs more than {most} bytes for its extended attributes",
                hint="if you trust the files, raise the limit: --limit header=…",
            )
        values[attribute] = value
    return values


def _list(file: int | str, name: str) -> list[str]:
    if not hasattr(os, "listxattr"):
        return []
    try:
        names = os.listxattr(file, follow_symlinks=isinstance(file, int))
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return []
        if error.errno in _TOO_MANY:
            raise LimitError(
                f"the names of the extended attributes of '{printable(name)}' have more than 64 KiB"
            ) from error
        raise read_error(printable(name), error) from error
    return sorted(attribute for attribute in names if not attribute.startswith(_HOST_XATTRS))


_TOO_LARGE = (errno.ENOSPC, errno.E2BIG, errno.ERANGE)


def set_xattr(file: int | str, attribute: str, value: bytes, name: str) -> bool:
    """Set an extended attribute of an open file. Return False if it is unsupported or not permitted.

    ``file`` is a descriptor, or a path in /proc/self/fd. Raises WriteError if the value is too large.
    """
    try:
        os.setxattr(file, attribute, value)
    except OSError as error:
        # If a value is too large, ext4 reports ENOSPC, and btrfs ENOSPC or E2BIG.
        if error.errno in _TOO_LARGE and _free_space(file):
            raise WriteError(
                f"'/{printable(name)}': this file system can't store the extended attribute "
                f"'{printable(attribute)}' of {len(value)} bytes"
            ) from error
        if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EINVAL):
            raise
        return False
    return True


def _free_space(file: int | str) -> bool:
    """Return whether a file system has free space. If it has, ENOSPC means that an attribute is too large."""
    system = os.statvfs(file)
    return system.f_bavail * system.f_frsize > 1 << 20
