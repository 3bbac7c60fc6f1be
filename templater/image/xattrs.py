"""Extended attributes to store in an image, of open files and of symbolic links."""

import os

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
    """Return the extended attributes of a symbolic link in a directory, or none if they cannot be read."""
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
