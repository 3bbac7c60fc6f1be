"""Copying extended attributes and ACLs from a file to its replacement."""

import errno

from ..oslite import os
from ..rootfs.confined import again

#: Attributes that certify the old content, and so would not match the new content.
#: The kernel itself drops security.capability on every write.
_OF_THE_CONTENT = ("security.capability", "security.ima", "security.evm")
#: attributes of overlayfs itself
_OF_OVERLAYFS = ("trusted.overlay.", "user.overlay.")


def copy_attributes(old: int, new: int) -> None:
    """Copy the extended attributes from one descriptor to another.

    Attributes that certify the old content, and attributes of overlayfs, are not copied.
    """
    if not hasattr(os, "listxattr"):
        return
    try:
        names = again(os.listxattr, old)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return
        raise
    for name in names:
        if name not in _OF_THE_CONTENT and not name.startswith(_OF_OVERLAYFS):
            value = again(os.getxattr, old, name)
            if name != "security.selinux" or _differs(new, name, value):
                again(os.setxattr, new, name, value)


def drop_inherited_acl(fd: int) -> None:
    """Remove the ACL that a new file has inherited from its directory.

    Otherwise, a user who owns the directory could read and write files that belong to other users.
    """
    if not hasattr(os, "removexattr"):
        return
    try:
        again(os.removexattr, fd, "system.posix_acl_access")
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.ENOTSUP):
            raise


def _differs(fd: int, name: str, value: bytes) -> bool:
    """Return whether an attribute of an open file must be set to this value.

    An equal attribute is not set again, because setting an SELinux label can be forbidden.
    """
    try:
        return os.getxattr(fd, name) != value
    except OSError:
        return True
