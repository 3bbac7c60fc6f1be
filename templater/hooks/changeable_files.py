"""A check whether another user can change the program files that a hook of root runs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from ..rootfs.trusted_paths import is_magic
from ..rootfs.writable_by_others import is_shared


def places_on_the_way(path: str) -> Iterator[str]:
    """Yield the path of each directory and symlink on the way to ``path``, and of the final file.

    Only the last component of a yielded path can be a symlink.
    """
    here = "/"
    yield here
    ahead = os.path.abspath(path).split("/")[::-1]
    for _ in range(1000):
        if not ahead:
            return
        name = ahead.pop()
        if name in ("", "."):
            continue
        if name == "..":
            here = os.path.dirname(here)
            continue
        place = os.path.join(here, name)
        yield place
        if os.path.islink(place):
            target = os.readlink(place)
            here = "/" if target.startswith("/") else here
            ahead += target.split("/")[::-1]
        else:
            here = place


def is_changeable(place: str) -> bool:
    """Return whether a user other than root and the caller can change or replace this file.

    A sticky directory of root, such as /tmp, is not changeable, but the files and links in it are.
    """
    try:
        status = os.lstat(place)
        above = os.lstat(os.path.dirname(place))
    except OSError:
        return True  # the owner of a directory can replace a file in it after the check
    if status.st_uid not in (0, os.geteuid()):
        return True
    if stat.S_ISLNK(status.st_mode) and is_magic(status, os.readlink(place)):
        return True  # such a link can lead into a container, whose root user can change every file
    if above.st_mode & stat.S_IWOTH and status.st_dev != above.st_dev:
        return True  # another user can have mounted a FUSE file system, which can show any owner
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return False
    if not stat.S_ISDIR(status.st_mode) and is_shared(os.path.dirname(place), above):
        return True  # if root writes a file to a user's directory, this user can move the file to /tmp
    return not stat.S_ISLNK(status.st_mode) and is_shared(place, status)
