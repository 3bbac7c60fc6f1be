"""Limits on reading images. Exceeding one raises LimitError."""

from __future__ import annotations

from dataclasses import dataclass

from ..model.entry import TEMPLATE_BYTES
from ..model.errors import LimitError
from ..model.source import printable

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for every reader of images. Real distribution images need less than a hundredth of each."""

    #: the daemons' own limit since CVE-2026-41648
    metadata_bytes: int = MIB
    template_bytes: int = TEMPLATE_BYTES
    templates_bytes: int = 64 * MIB
    members: int = 5_000_000
    #: one pax header, GNU long name or sparse map
    header_bytes: int = MIB
    #: path of a member: PATH_MAX
    name_bytes: int = 4096
    #: names, link targets and attributes that one reader has in memory
    held_bytes: int = 128 * MIB
    #: size of the decompressed archive
    unpacked_bytes: int = 256 * GIB
    #: decompressed size divided by compressed size, checked above ``ratio_from`` decompressed bytes
    ratio: int = 1000
    ratio_from: int = 256 * MIB
    #: memory for a decompressor's window
    window_bytes: int = 512 * MIB


DEFAULT = Limits()

#: most parent directories of a name in a root filesystem, for reading and writing. Most programs that remove
#: trees recurse, and fail on deeper ones
DEEPEST = 500

#: disk space for an inode and its block: the size of an empty directory on most file systems
INODE_BYTES = 4 * KIB


class HeldBytes:
    """A count of the memory that one reader uses. Raises LimitError above ``limits.held_bytes``."""

    def __init__(self, path: str, limits: Limits) -> None:
        self._path = path
        self._most = limits.held_bytes
        self._held = 0

    def add(self, *sizes: int) -> None:
        self._held += sum(sizes)
        if self._held > self._most:
            raise LimitError(
                f"'{self._path}' has names and attributes of more than {self._most} bytes together",
                hint="if you trust the image, raise the limit: --limit names=…",
            )


def refuse_deep(name: str) -> None:
    """Raise LimitError if a name, relative to its root filesystem, has too many parent directories."""
    if name.count("/") > DEEPEST:
        raise LimitError(f"'{printable(name[:100])}…' is more than {DEEPEST} directories deep")
