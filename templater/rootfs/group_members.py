"""The members of a group of this system, who can write in the group's directories."""

import grp
import pwd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

#: the file that lists users, the file that lists groups, and the maximum size of each file in bytes
USERS_FILE = "/etc/passwd"
GROUPS_FILE = "/etc/group"
MAX_FILE = 1 << 20


def has_other_members(gid: int, users: "Collection[int]") -> bool:
    """Return whether a group has a member who is not one of the given users.

    Users with this primary group count as members.
    """
    names: list[str | bytes]
    try:
        names = [*grp.getgrgid(gid).gr_mem]
    except KeyError:  # the group has no entry, so it has no members
        names = []
    # Several groups can have this number. Search only /etc/group and /etc/passwd, because a directory service
    # can have too many users and groups.
    for fields in _lines_with_group(GROUPS_FILE, 2, gid):
        names += [name for name in fields[-1].split(b",") if name]
    # A member's name that belongs to no user counts as another user.
    if any(_uid_of(name) not in users for name in names):
        return True
    return any(_number(fields[2]) not in users for fields in _lines_with_group(USERS_FILE, 3, gid))


def _uid_of(name: "str | bytes") -> int:
    try:
        return pwd.getpwnam(name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")).pw_uid
    except KeyError:
        return -1


def _number(text: bytes) -> int:
    """Parse a uid or gid of /etc/passwd or /etc/group. Return -1 if it is not a number."""
    try:
        return int(text)
    except ValueError:
        return -1


def _lines_with_group(path: str, column: int, gid: int) -> "Iterator[list[bytes]]":
    """Yield the fields of each line of the file ``path`` that has ``gid`` in ``column``.

    If the file is larger than ``MAX_FILE``, first yield a line with an unknown user.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return
    if len(text) > MAX_FILE:
        # Callers then assume that the group has other members.
        yield [b"", b"", b"-1", b"?"]
    for line in text.split(b"\n"):
        fields = line.strip().split(b":")
        if len(fields) > column and _number(fields[column]) == gid:
            yield fields
