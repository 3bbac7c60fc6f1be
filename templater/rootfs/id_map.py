"""The map from user and group ids of a container to ids on disk."""

from ..model.entry import OVERFLOW_ID
from ..model.errors import InputError
from .paths import UnmappedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    Ranges = tuple[tuple[int, int, int], ...]

#: the usual number of ids for one container, and the number of possible ids
_USUAL = 65536
_ALL = 2**32 - 1


class IdMap:
    """A map from container ids to ids on disk: ranges of (first in the container, first on disk, count)."""

    __slots__ = ("gids", "uids")

    def __init__(self, uids: "Ranges", gids: "Ranges") -> None:
        """Raise InputError for a negative id, and for an id above 2**32 - 2, the largest id of Linux."""
        for inside, outside, count in (*uids, *gids):
            if min(inside, outside, count) < 0 or max(inside, outside) + count > _ALL:
                raise InputError(f"an id map has ids outside of the range from 0 to {_ALL - 1}")
        self.uids = uids
        self.gids = gids

    def __repr__(self) -> str:
        return f"IdMap({self.uids!r}, {self.gids!r})"

    @property
    def shifts(self) -> bool:
        """Return whether at least one id of the container differs from its id on disk."""
        return any(inside != outside for inside, outside, _ in (*self.uids, *self.gids))

    def unshifted(self) -> "IdMap":
        """Return a map for the same container ids. The new map maps each id to itself."""
        uids, gids = (tuple((inside, inside, n) for inside, _, n in each) for each in (self.uids, self.gids))
        return IdMap(uids, gids)

    def on_disk(self, uid: int, gid: int) -> "tuple[int, int]":
        """Return the ids on disk. Raises UnmappedError for an id outside the map."""
        return self.uid_on_disk(uid), self.gid_on_disk(gid)

    def uid_on_disk(self, uid: int) -> int:
        return _id_on_disk(uid, self.uids, "uid")

    def gid_on_disk(self, gid: int) -> int:
        return _id_on_disk(gid, self.gids, "gid")

    def in_container(self, uid: int, gid: int) -> "tuple[int, int]":
        return _id_in_container(uid, self.uids), _id_in_container(gid, self.gids)


IDENTITY = IdMap(((0, 0, _ALL),), ((0, 0, _ALL),))


def shifted(uid: int, gid: int) -> IdMap:
    """Guess the id map of a root filesystem from the owner of its root directory.

    If the owner is an ordinary user, the map has only this user, as the container's root.
    """
    return IdMap(_from(uid), _from(gid))


def _from(owner: int) -> "Ranges":
    if owner == 0:
        return ((0, 0, _ALL),)
    # A container's ids are usually above the ids of ordinary users.
    return ((0, owner, min(_USUAL, _ALL - owner) if owner >= _USUAL else 1),)


def _id_on_disk(number: int, ranges: "Ranges", what: str) -> int:
    for inside, outside, count in ranges:
        if inside <= number < inside + count:
            return outside + number - inside
    raise UnmappedError(
        f"the container's {what} {number} is not in its id map",
        hint=f"the id map is {', '.join(f'{a}-{a + n - 1} → {b}' for a, b, n in ranges) or 'empty'}",
    )


def _id_in_container(number: int, ranges: "Ranges") -> int:
    for inside, outside, count in ranges:
        if outside <= number < outside + count:
            return inside + number - outside
    return OVERFLOW_ID
