"""Directories in which several users can write: their groups, ACLs and user namespaces."""

from sys import byteorder

from ..model.entry import OVERFLOW_ID
from ..oslite import os, stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Linux: include/uapi/linux/nsfs.h
_NS_GET_OWNER_UID = 0xB704


def is_shared(place: "int | str", status: "os.stat_result") -> bool:
    """Return whether users other than root, the owner and the hook's user can write to a file or directory.

    ``place`` is an open descriptor or a path.
    """
    if status.st_mode & stat.S_IWOTH:
        return True
    if not status.st_mode & stat.S_IWGRP:  # with an ACL, the bits of the group are the limit of all entries
        return False
    # Many systems give each user a group of the same number. Any other group can have several members. In a
    # user namespace, all groups that it does not map have the number OVERFLOW_ID.
    own_groups = 0, os.geteuid(), status.st_uid
    if status.st_gid == OVERFLOW_ID:
        return True
    if status.st_gid in own_groups:
        if _has_another_number_outside(status.st_gid):
            return True
    elif not _is_group_of_namespace_owner(status.st_gid):
        return True
    return _acl_lets_write(place)


def _has_another_number_outside(gid: int) -> bool:
    """Return whether a group has another number outside of this user namespace than the user of this number.

    Rootless runtimes map their user and the primary group of the user to 0. Outside of the namespace, other
    users may be members of this group. No user is a member of the groups in a range of subordinate ids.

    A map has only the numbers in the surrounding namespace. If this is such a namespace, too, 0 can be any
    group.
    """
    users = list(own_map("uid_map"))
    return any(
        first == gid and count == 1 and (disk == 0 or (first, disk, count) not in users)
        for first, disk, count in own_map("gid_map")
    )


def own_map(name: str) -> "Iterator[tuple[int, int, int]]":
    return map_of("self", name)


def map_of(process: "int | str", name: str) -> "Iterator[tuple[int, int, int]]":
    """Yield the rows of a process's uid_map or gid_map. Raises OSError if the process does not exist."""
    with open(f"/proc/{process}/{name}", "rb") as file:
        for line in file:
            first, disk, count = map(int, line.split())
            yield first, disk, count


def namespace_owner() -> int:
    """Return the user who created this user namespace, or 0 if this user is not apart from the other users.

    lxc-usernsexec maps this user individually, behind all ids of the container. With ``podman run
    --userns=keep-id``, the user has a lower id, and is an ordinary user of the container.
    """
    owner = namespace_creator()
    if owner in (0, OVERFLOW_ID):
        return 0
    last, _, count = max(own_map("uid_map"))
    return owner if (last, count) == (owner, 1) else 0


def namespace_creator() -> int:
    """Return the user who created this user namespace, or 0 if the kernel does not tell."""
    from fcntl import ioctl

    try:
        namespace = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return int.from_bytes(ioctl(namespace, _NS_GET_OWNER_UID, bytes(4)), byteorder)
    except OSError:  # before Linux 4.11
        return 0
    finally:
        os.close(namespace)


def _is_group_of_namespace_owner(gid: int) -> bool:
    """Return whether a group is the private group of the user who called lxc-usernsexec.

    lxc-usernsexec maps this user and this group individually, not as part of a range. Outside of the
    namespace, a user's private group has the number of the user.
    """
    owner = namespace_owner()
    users = [(first, disk) for first, disk, count in own_map("uid_map") if owner and count == 1]
    return any(
        first == gid and count == 1 and disk != 0 and (owner, disk) in users
        for first, disk, count in own_map("gid_map")
    )


#: tags of the entries of an ACL for a named user and a named group
_ACL_NAMED = (2, 8)


def _acl_lets_write(place: "int | str") -> bool:
    """Return whether an ACL lets a named user or group write to a file or directory."""
    try:
        path = place if isinstance(place, str) else f"/proc/self/fd/{place}"
        acl = os.getxattr(path, "system.posix_acl_access")
    except OSError:
        return False
    # four bytes of version, and then eight bytes for each entry: tag, permissions, id
    return any(acl[at] in _ACL_NAMED and acl[at + 2] & 2 for at in range(4, len(acl), 8))
