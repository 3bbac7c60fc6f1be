"""Copying extended attributes and ACLs from a file to its replacement, up to a limit for one run."""

import errno
from sys import byteorder

from ..model.errors import LimitError
from ..oslite import os
from ..rootfs.system_calls import again

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: the maximum size of all attributes that one run copies, for which the kernel needs half a second
MOST_ATTRIBUTES = 16 << 20
#: the bytes that each attribute adds to the total besides its name and value. So one run copies at most
#: 60,000 attributes.
ATTRIBUTE_COST = 256
#: errors of os.listxattr for more than 64 KiB of names
_TOO_MANY = (errno.E2BIG, errno.ERANGE)

#: Attributes that certify the old content, and so would not match the new content.
#: The kernel itself drops security.capability on every write.
_OF_THE_CONTENT = ("security.capability", "security.ima", "security.evm")
#: the attribute that certifies the inode and the content
_OF_THE_INODE = ("security.evm",)
#: attributes of overlayfs itself
_OF_OVERLAYFS = ("trusted.overlay.", "user.overlay.")

#: Linux: include/uapi/linux/fs.h, FS_IOC_FSGETXATTR and FS_XFLAG_PROJINHERIT
_GET_FSXATTR, _PROJINHERIT = 0x801C581F, 0x200


class CopiedAttributes:
    """A limit on the extended attributes that templater or the kernel copies during one run.

    Before a change, overlayfs copies a mounted file, or a directory of a lower layer and all directories
    above it.
    """

    __slots__ = ("room",)

    def __init__(self) -> None:
        # A file can have 9,000 attributes of 64 KiB each, and no time limit can end the kernel's copying.
        self.room = MOST_ATTRIBUTES

    def count(self, fd: int, path: str) -> None:
        """Count the attributes of a file or directory. Messages show ``path``.

        Raises LimitError if the attributes of this run exceed ``MOST_ATTRIBUTES`` in total.
        """
        for _ in self._counted(fd, path):
            pass

    def copy(self, old: int, new: int, path: str, backup: "int | None" = None) -> None:
        """Copy the attributes of the open file ``old`` to ``new``. Count all of them towards the limit.

        Skip attributes of overlayfs, and attributes that certify the old content. ``backup``, an open copy of
        the old file, also gets the attributes that certify only the content.
        """
        for name, value in self._counted(old, path):
            for fd, skipped in ((new, _OF_THE_CONTENT), (backup, _OF_THE_INODE)):
                if fd is None or name in skipped or name.startswith(_OF_OVERLAYFS):
                    continue
                if isinstance(value, OSError):
                    raise value
                if name != "security.selinux" or _differs(fd, name, value):
                    again(os.setxattr, fd, name, value)

    def _counted(self, fd: int, path: str) -> "Iterator[tuple[str, bytes | OSError]]":
        """Yield the name of each attribute, and its value or the error from reading the value."""
        for name in self._names(fd, path):
            value: bytes | OSError
            try:
                value = again(os.getxattr, fd, name)
            except OSError as error:
                value = error
            # An unreadable value does not reduce ``room``, because the kernel can't copy it either.
            self.room -= len(name) + ATTRIBUTE_COST + (0 if isinstance(value, OSError) else len(value))
            if self.room < 0:
                raise _too_many(path)
            yield name, value

    def _names(self, fd: int, path: str) -> "list[str]":
        if not hasattr(os, "listxattr"):
            return []
        try:
            return again(os.listxattr, fd)
        except OSError as error:
            if error.errno == errno.ENOTSUP:
                return []
            if error.errno in _TOO_MANY:
                raise _too_many(path) from None
            raise


def drop_inherited_acl(fd: int) -> None:
    """Remove the ACL that a new file has inherited from its directory."""
    # With this ACL, the owner of the directory could read and write the files of other users.
    if not hasattr(os, "removexattr"):
        return
    try:
        again(os.removexattr, fd, "system.posix_acl_access")
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.ENOTSUP):
            raise


def project_of(fd: int) -> "tuple[int, bool]":
    """Return the project id of a file or directory, and whether new files in the directory get this id.

    If the file system has no project ids, return (0, False).
    """
    from fcntl import ioctl

    try:
        found = again(ioctl, fd, _GET_FSXATTR, bytes(28))
    except OSError:
        return 0, False
    return int.from_bytes(found[12:16], byteorder), bool(int.from_bytes(found[:4], byteorder) & _PROJINHERIT)


def _too_many(path: str) -> LimitError:
    return LimitError(
        f"{path!r} has too many or too large extended attributes: one run may copy at most"
        f" {MOST_ATTRIBUTES} bytes of attributes of the targets and of the directories above them",
        hint="list the attributes with 'getfattr -d -m -', and remove some with 'setfattr -x'",
    )


def _differs(fd: int, name: str, value: bytes) -> bool:
    """Return whether an attribute of an open file must be set to this value."""
    # An equal attribute is not set again, because setting an SELinux label can be forbidden.
    try:
        return os.getxattr(fd, name) != value
    except OSError:
        return True
