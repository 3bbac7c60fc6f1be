"""Extended attributes: reading them for an image, and setting them on unpacked files."""

import errno
import os

from ..model.errors import WriteError
from ..model.source import printable

_HOST_XATTRS = ("trusted.overlay.", "security.selinux", "security.ima", "security.evm", "security.SMACK64")


def xattrs_of(fd: int) -> dict[str, bytes]:
    """Return the extended attributes of an open file, without those that belong to the host."""
    if not hasattr(os, "listxattr"):
        return {}
    try:
        names = os.listxattr(fd)
    except OSError:  # the file system has no extended attributes
        return {}
    return {name: os.getxattr(fd, name) for name in sorted(names) if not name.startswith(_HOST_XATTRS)}


def xattrs_of_link(directory: int, entry: str) -> dict[str, bytes]:
    """Return the extended attributes of a symbolic link in a directory, or {} if they cannot be read."""
    if not hasattr(os, "listxattr"):
        return {}
    path = f"/proc/self/fd/{directory}/{entry}"
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in sorted(names)
            if not name.startswith(_HOST_XATTRS)
        }
    except OSError:
        return {}


def xattr_names(directory: int, entry: str) -> frozenset[str]:
    """Return the names of an entry's extended attributes. A symbolic link is not followed."""
    if not hasattr(os, "listxattr"):
        return frozenset()
    try:
        names = os.listxattr(f"/proc/self/fd/{directory}/{entry}", follow_symlinks=False)
    except OSError:  # the file system has no extended attributes, or the entry is gone
        return frozenset()
    return frozenset(name for name in names if not name.startswith(_HOST_XATTRS))


_TOO_LARGE = (errno.ENOSPC, errno.E2BIG, errno.ERANGE)


def set_xattr(fd: int, attribute: str, value: bytes, name: str) -> bool:
    """Set an extended attribute of an open file. Return False if that is unsupported or not permitted.

    Raises WriteError if the value is too large for the file system; ``name`` is the file's name in the image.
    """
    try:
        os.setxattr(fd, attribute, value)
    except OSError as error:
        # If a value is too large, ext4 reports ENOSPC, and btrfs ENOSPC or E2BIG.
        if error.errno in _TOO_LARGE and _free_space(fd):
            raise WriteError(
                f"'/{printable(name)}': this file system can't store the extended attribute "
                f"'{printable(attribute)}' of {len(value)} bytes"
            ) from error
        if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EINVAL):
            raise
        return False
    return True


def _free_space(fd: int) -> bool:
    """Return whether the file system has free space. If it has, ENOSPC means that a value is too large."""
    system = os.fstatvfs(fd)
    return system.f_bavail * system.f_frsize > 1 << 20
