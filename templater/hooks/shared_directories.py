"""The check that no other user can put files into a directory that a hook trusts."""

from ..model.errors import RefusedError
from ..model.source import printable
from ..oslite import abspath, dirname, exists, islink, join, os, stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

#: limit on the names on the way to a directory, including those of links
MOST_COMPONENTS = 1000


def require_unshared(folder: str, owners: "Collection[int]" = ()) -> None:
    """Raise RefusedError if other users can write to a directory or replace it.

    ``owners`` has the users to whom the directory may belong. The directories on the way must then belong
    to root or the hook's user: another owner could replace a checked directory. By default, any user may own
    them.

    For example, ``lxc-start -f /tmp/a.conf`` makes ``/tmp`` an instance directory. Any user can then add a
    metadata.yaml, and the hook would write that user's files as root.
    """
    place = shared_place(folder, owners)
    if place:
        files = "its files" if place == abspath(folder) else f"'{printable(folder)}'"
        raise RefusedError(
            f"other users can write to '{printable(place)}', so {files} may belong to another user",
            hint="let only the owner write to the directory, or give --source and --state",
        )


def trusted_owners(rootfs: str) -> "Collection[int]":
    """Return the users who may own the directory of ``--state`` or of the file of ``--instance``.

    They are root, the hook's user and the container's root. In a user namespace, the uid of ``/`` stands for
    all users outside of the namespace.
    """
    places = ("/", rootfs) if exists(rootfs) else "/"
    return {0, os.geteuid(), *(os.stat(place).st_uid for place in places)}


def shared_place(folder: str, owners: "Collection[int]" = ()) -> str:
    """Return the first directory on the path that lets other users put files into ``folder``, or "".

    In a sticky directory such as ``/tmp``, users can replace only their own names.
    """
    here, ahead = "/", abspath(folder).split("/")[::-1]
    try:
        for _ in range(MOST_COMPONENTS):
            if not ahead:
                status = os.lstat(here)
                is_foreign = bool(owners) and not _is_trusted(status.st_uid)
                if (is_foreign and status.st_uid not in owners) or is_shared(here, status):
                    return here
                above = dirname(here)  # even in a sticky directory, an owner can replace the own name
                return above if is_foreign and is_shared(above, os.lstat(above)) else ""
            name = ahead.pop()
            if name in ("", "."):
                continue
            if name == "..":
                here = dirname(here)
                continue
            status = os.lstat(here)
            if owners and not _is_trusted(status.st_uid):
                return here
            shared = is_shared(here, status)
            if shared and not status.st_mode & stat.S_ISVTX:
                return here
            place = join(here, name)
            if islink(place):
                # in a sticky directory, any user can make a link to a directory of another instance
                if (shared or owners) and not _is_trusted(os.lstat(place).st_uid):
                    return here
                target = os.readlink(place)
                here = "/" if target.startswith("/") else here
                ahead += target.split("/")[::-1]
            else:
                here = place
    except OSError:
        return ""  # opening the directory later reports the error
    return here


def is_shared(place: str, status: "os.stat_result") -> bool:
    """Return whether users other than root, the owner and the hook's user can write to a directory."""
    if status.st_mode & stat.S_IWOTH:
        return True
    if not status.st_mode & stat.S_IWGRP:  # with an ACL, the bits of the group are the limit of all entries
        return False
    # many systems give each user a group of the same number
    own_groups = 0, os.getegid(), status.st_uid
    if status.st_gid not in own_groups and not _is_mapped_alone(status.st_gid, "gid_map"):
        return True
    return _acl_lets_write(place)


def _is_trusted(uid: int) -> bool:
    """Return whether a user is root, the hook's user, or the user who owns the hook's user namespace."""
    return uid in (0, os.geteuid(), os.stat("/").st_uid) or _is_mapped_alone(uid, "uid_map")


def _is_mapped_alone(number: int, name: str) -> bool:
    """Return whether the hook's user namespace maps an id as a range of one id.

    lxc-usernsexec maps the user who owns the container, and this user's group, in this way.
    """
    from .lxc_config import own_map

    return any(first == number and count == 1 for first, _, count in own_map(name))


#: tags of the entries of an ACL for a named user and a named group
_ACL_NAMED = (2, 8)


def _acl_lets_write(folder: str) -> bool:
    """Return whether an ACL lets a named user or group write to a directory."""
    try:
        acl = os.getxattr(folder, "system.posix_acl_access")
    except OSError:
        return False
    # four bytes of version, and then eight bytes for each entry: tag, permissions, id
    return any(acl[at] in _ACL_NAMED and acl[at + 2] & 2 for at in range(4, len(acl), 8))
