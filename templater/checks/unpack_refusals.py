"""Members of an archive that GNU tar can't unpack with the options of Incus or LXD."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from ..image.gnu_tar_refusals import TARGET_THROUGH_LINK, THROUGH_LINK, UnpackedTree, described, has_dots
from ..model.file_names import ROOTFS
from .scanned_image import Name

_DEV = f"{ROOTFS}/dev/"


class UnpackRefusal(NamedTuple):
    message: str
    path: str
    #: ``incus`` or ``lxd`` if only this daemon can't unpack the member, else empty
    product: str


def unpack_refusals(names: Collection[Name]) -> Iterator[UnpackRefusal]:
    """Yield each member of an archive that GNU tar can't unpack.

    Omit members that ``templater audit`` reports.

    Raises LimitError if directories that only occur in paths of members have too many bytes of names.
    """
    lxd = dict(_failures(enumerate(names)))
    incus = lxd
    skipped = {name.path.lstrip("/") for name in names if name.skipped}
    if skipped and (lxd or any(_may_fail(name, skipped) for name in names)):
        incus = dict(_failures((place, name) for place, name in enumerate(names) if not name.skipped))
    if not lxd and not incus:
        return
    for place, name in enumerate(names):
        reason = lxd.get(place) or incus.get(place)
        if reason is None:
            continue
        shown = described(name.path, name.hard_link, reason)
        if place not in lxd:
            message = f"{shown}: Incus can't unpack it, because Incus skips the members below '{_DEV[:-1]}'"
            yield UnpackRefusal(message, name.path, "incus")
        elif place not in incus:
            yield UnpackRefusal(f"{shown}: LXD can't unpack it", name.path, "lxd")
        else:
            yield UnpackRefusal(f"{shown}: the daemons can't unpack it", name.path, "")


def _failures(names: Iterable[tuple[int, Name]]) -> Iterator[tuple[int, str]]:
    """Yield the index of each member that GNU tar can't unpack, and the reason."""
    tree = UnpackedTree()
    for place, name in names:
        path = name.path.lstrip("/")
        if has_dots(path):
            continue
        reason = ""
        if path:
            entry = name.entry
            reason = tree.add(path, entry.kind, entry.target, name.hard_link, name.is_inside)
        if reason and reason not in (THROUGH_LINK, TARGET_THROUGH_LINK):
            yield place, reason


def _may_fail(name: Name, skipped: Collection[str]) -> bool:
    """Return whether unpacking a member may fail because Incus skips another member."""
    return not name.skipped and (name.hard_link in skipped or name.path.lstrip("/").startswith(_DEV))
