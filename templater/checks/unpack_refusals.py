"""Members of an archive that GNU tar, and so every daemon, can't unpack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..image.unpacked_tree import TARGET_THROUGH_LINK, THROUGH_LINK, UnpackedTree, described, has_dots
from .scanned_image import Name


class UnpackRefusal(NamedTuple):
    message: str
    path: str


def unpack_refusals(names: Iterable[Name]) -> Iterator[UnpackRefusal]:
    """Yield each member of an archive that GNU tar can't unpack.

    Yield nothing about a member that GNU tar would unpack through a symlink, or outside of the image: audits
    have checks of such members. Raises LimitError if too many directories have no member of their own.
    """
    tree = UnpackedTree()
    for name in names:
        path = name.path.lstrip("/")
        if has_dots(path):
            continue
        reason = ""
        if path:
            entry = name.entry
            reason = tree.add(path, entry.kind, entry.target, name.hard_link, name.is_inside)
        if reason and reason not in (THROUGH_LINK, TARGET_THROUGH_LINK):
            message = f"{described(name.path, name.hard_link, reason)}: the daemons can't unpack it"
            yield UnpackRefusal(message, name.path)
