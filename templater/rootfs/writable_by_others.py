"""Directories in which several users can write: their groups, ACLs and user namespaces."""

from sys import byteorder

from ..model.entry import OVERFLOW_ID
from ..oslite import os, stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    #: the rows of a map of ids: first number in the namespace, first number outside, how many
    Rows = tuple[tuple[int, int, int], ...]

#: Linux: include/uapi/linux/nsfs.h
_NS_GET_OWNER_UID = 0xB704


def is_shared(place: "int | str", status: "os.stat_result") -> bool:
    """Return whether users other than root, the owner and the hook's user can write to a file or directory.

    ``place`` is an open descriptor or a path.
    """
    if status.st_mode & stat.S_IWOTH:
        return True
    if not status.st_mode & stat.S_IWGRP:  # with an ACL, these bits limit all named entries
        return False
    # Many systems give each user a group of the same number. Any other group can have several members. In a
    # user namespace, all groups that it does not map have the number OVERFLOW_ID.
    gid, own = status.st_gid, (0, os.geteuid(), status.st_uid)
    if gid == OVERFLOW_ID:
        return True
    users, groups = tuple(own_map("uid_map")), tuple(own_map("gid_map"))
    if gid in own:
        if _has_another_number_outside(gid, users, groups):
            return True
    elif not _is_group_of_namespace_owner(gid, users, groups):
        return True
    return _acl_lets_write(place) or _has_other_members(gid, own, users, groups)


def _has_other_members(gid: int, own: "Collection[int]", users: "Rows", groups: "Rows") -> bool:
    """Return whether a group has a member other than root, the users in ``own`` and the namespace's owner."""
    group = _number_in_etc(gid, groups)
    # The members of the group 0 count as root.
    if group == 0:
        return False
    from .group_members import has_other_members

    return has_other_members(group, {0, *(_number_in_etc(uid, users) for uid in (*own, namespace_owner()))})


def _number_in_etc(number: int, rows: "Rows") -> int:
    """Return the number that /etc/passwd or /etc/group has for an id of this user namespace.

    If the id is mapped alone, not in a range, return the number outside the namespace.
    """
    # Rootless runtimes and lxc-usernsexec map the id of their user alone. A process in the namespace then
    # sees the /etc of the outside.
    return next((disk for first, disk, count in rows if first == number and count == 1), number)


def _has_another_number_outside(gid: int, users: "Rows", groups: "Rows") -> bool:
    """Return whether the namespace maps the gid ``gid`` and the equal uid to different ids of the host.

    Other users may be members of such a group.
    """
    # Return True for the host id 0, too: in a nested namespace, 0 can mean any group. Return False for
    # subordinate ids, whose groups have no members.
    return any(
        first == gid and count == 1 and (disk == 0 or (first, disk, count) not in users)
        for first, disk, count in groups
    )


def own_map(name: str) -> "Iterator[tuple[int, int, int]]":
    return map_of("self", name)


def map_of(process: "int | str", name: str) -> "Iterator[tuple[int, int, int]]":
    """Yield the rows of a process's uid_map or gid_map. Raises OSError if the process does not exist."""
    with open(f"/proc/{process}/{name}", "rb") as file:
        for line in file:
            first, disk, count = map(int, line.split())
            yield first, disk, count


#: the user whom the hook line names with ``--owner``, or 0
_named_owner = 0


def name_owner(uid: int) -> None:
    """Store the user whom the hook's option ``--owner`` names.

    If this user did not create the user namespace, ``namespace_owner`` returns 0.
    """
    global _named_owner  # noqa: PLW0603 - the option holds for every directory that the hook opens
    _named_owner = uid


def namespace_owner() -> int:
    """Return the user who created this user namespace, or 0 if ``name_owner`` has not named this user."""
    # With ``podman run --userns=keep-id``, this user is an ordinary user of the container.
    return _named_owner if _named_owner and _named_owner == namespace_creator() else 0


def namespace_creator() -> int:
    """Return the user who created this user namespace, or 0 if the namespace has no id for this user."""
    from fcntl import ioctl

    try:
        namespace = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        uid = int.from_bytes(ioctl(namespace, _NS_GET_OWNER_UID, bytes(4)), byteorder)
        return 0 if uid == OVERFLOW_ID else uid
    except OSError:  # before Linux 4.11
        return 0
    finally:
        os.close(namespace)


def _is_group_of_namespace_owner(gid: int, users: "Rows", groups: "Rows") -> bool:
    """Return whether a group is the private group of the user whom ``namespace_owner`` returns."""
    owner = namespace_owner()
    # lxc-usernsexec maps this user and this group individually, not as part of a range. Outside of the
    # namespace, a user's private group has the number of the user.
    return any(
        first == gid and count == 1 and disk != 0 and owner != 0 and (owner, disk, 1) in users
        for first, disk, count in groups
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
