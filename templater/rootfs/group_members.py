"""The members of a group of this system."""

import grp
import pwd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

#: the file with the primary groups of users, and its maximum size in bytes
USERS_FILE = "/etc/passwd"
MAX_USERS_FILE = 1 << 20


def has_other_members(gid: int, users: "Collection[int]") -> bool:
    """Return whether a group has a member who is not one of the given users.

    A member without an entry counts as another user. Users with this primary group are searched only in
    /etc/passwd, because a directory service can have very many users.
    """
    try:
        names = grp.getgrgid(gid).gr_mem
    except KeyError:  # the group has no entry, so it has no members
        names = []
    if any(_uid_of(name) not in users for name in names):
        return True
    own = {b"%d" % uid for uid in users}
    return any(uid not in own for uid in _users_with_primary_group(gid))


def _uid_of(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return -1


def _users_with_primary_group(gid: int) -> "Iterator[bytes]":
    """Yield the uids of the users with this primary group, or b"" if the file is too large to be searched."""
    try:
        with open(USERS_FILE, "rb") as file:
            text = file.read(MAX_USERS_FILE + 1)
    except FileNotFoundError:
        return
    if len(text) > MAX_USERS_FILE:
        yield b""
    for line in text.split(b"\n"):
        fields = line.split(b":", 4)
        if fields[3:4] == [b"%d" % gid]:
            yield fields[2]
