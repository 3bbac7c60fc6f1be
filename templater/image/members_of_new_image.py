"""The members of a new image's archives, in their order and with their names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..model.errors import RefusedError
from ..model.file_names import ROOTFS
from ..model.unprintable_characters import printable
from .directory_members import Data
from .gnu_tar_refusals import NO_TARGET, THROUGH_LINK, UnpackedTree, described
from .limits import HeldBytes, memory_of
from .read_whole_image import Contents, Part
from .tar_reader import HARD_LINK, Member

#: estimated memory for a name, in addition to its text
_NAME_BYTES = 100
#: Incus does not unpack the members below this folder of the root filesystem
_DEV = "dev/"


def rootfs_members(contents: Contents) -> Iterator[tuple[Member, Data]]:
    """Yield the members of the root filesystem. Raise RefusedError if daemons can't unpack a member."""
    held = HeldBytes(contents.name, contents.limits)
    tree = UnpackedTree()
    for member, data in contents.rootfs():
        name = member.name
        if name:
            held.add(memory_of(name), _NAME_BYTES)
            linked = member.target if member.kind == HARD_LINK else ""
            # GNU tar ignores a hard link to itself, but other programs fail.
            reason = NO_TARGET if linked == name else tree.add(name, member.kind, member.target, linked)
            if reason and reason != THROUGH_LINK:
                raise RefusedError(
                    described(name, linked, reason),
                    hint="the daemons can't unpack this member: pack the image again",
                )
            if linked.startswith(_DEV) and not name.startswith(_DEV):
                raise RefusedError(
                    f"'{printable(name)}' is a hard link to '{printable(linked)}'",
                    hint="replace the link with a copy of the file: Incus skips the files in /dev, so it"
                    " can't make the link",
                )
        yield member, data


def unified_members(contents: Contents, parts: Iterable[Part]) -> Iterator[tuple[Member, Data]]:
    """Yield the members of a unified image."""
    yield from part_members(parts)
    for member, data in rootfs_members(contents):
        member.name = f"{ROOTFS}/{member.name}" if member.name else ROOTFS
        if member.kind == HARD_LINK:
            member.target = f"{ROOTFS}/{member.target}"
        yield member, data


def part_members(parts: Iterable[Part]) -> Iterator[tuple[Member, Data]]:
    """Yield the members of the metadata tarball of a split image."""
    for part in parts:
        yield part.member, iter(((0, part.data),) if part.data else ())


def dotted(members: Iterator[tuple[Member, Data]]) -> Iterator[tuple[Member, Data]]:
    """Yield the members with ``./`` before their names, as in the root filesystem of a split image."""
    for member, data in members:
        member.name = f"./{member.name}" if member.name else "."
        if member.kind == HARD_LINK:
            member.target = f"./{member.target}"
        yield member, data
