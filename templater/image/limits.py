"""Limits on reading images. Exceeding a limit raises LimitError."""

from __future__ import annotations

from typing import NamedTuple

from ..model.entry import TEMPLATE_BYTES
from ..model.errors import LimitError
from ..model.unprintable_characters import printable

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


class Limits(NamedTuple):
    """Limits for every reader of images. Distribution images need less than a third of each limit."""

    #: the same limit that the daemons introduced for CVE-2026-41648
    metadata_bytes: int = MIB
    template_bytes: int = TEMPLATE_BYTES
    templates_bytes: int = 12 * MIB
    members: int = 300_000
    #: maximum size of one pax header, GNU long name or sparse map
    header_bytes: int = MIB
    #: maximum length of a member's path (PATH_MAX)
    name_bytes: int = 4096
    #: maximum memory for names, link targets and attributes in one reader; also the maximum size of all
    #: extended headers with their blocks
    held_bytes: int = 128 * MIB
    #: maximum size of the decompressed archive
    unpacked_bytes: int = 256 * GIB
    #: maximum ratio of decompressed size to compressed size, checked after ``ratio_from`` decompressed bytes
    ratio: int = 200
    ratio_from: int = 256 * MIB
    #: maximum memory for a decompressor's window
    window_bytes: int = 128 * MIB


DEFAULT = Limits()

#: Limit on the parent directories of a name in a root filesystem.
#: Most programs that remove directory trees recurse, and fail on deeper trees.
DEEPEST = 500

#: The limit on sqfs2tar's memory in bytes: a constant, plus this number of bytes for each member that
#: ``Limits.members`` allows. sqfs2tar needs about half of the limit.
SQUASHFS_MEMORY, SQUASHFS_NAME = 64 * MIB, 400
#: The limit on sqfs2tar's processor time: a constant in seconds, plus one second for this many bytes of data.
SQUASHFS_SECONDS, SQUASHFS_BYTES_PER_SECOND = 5, MIB

#: disk space of an empty file or link on most file systems: an inode and a block
INODE_BYTES = 4 * KIB
#: disk space counted for a directory: more than for a file, because a file system needs ten times as long to
#: remove it
DIRECTORY_BYTES = 48 * KIB


#: memory for an extended attribute, in addition to its name and value
ATTRIBUTE_BYTES = 150


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
                f"the names and attributes in '{self._path}' need more than {self._most} bytes of memory",
                hint="if you trust the image, raise the limit: --limit names=…",
            )


def memory_of(*texts: str) -> int:
    """Return the bytes of texts in memory: 1 for each character of an ASCII text, 4 in any other text."""
    return sum([len(text) if text.isascii() else 4 * len(text) for text in texts])


def too_many_pieces(name: str) -> LimitError:
    """Return the error for a sparse file whose map would be longer than ``header_bytes``."""
    return LimitError(
        f"'{printable(name)}' is a sparse file with too many holes",
        hint="copy the file without holes, or raise the limit for this command and for each command that"
        " reads the image: --limit header=…",
    )


def refuse_deep(name: str) -> None:
    """Raise LimitError if a name, relative to its root filesystem, has too many parent directories."""
    if name.count("/") > DEEPEST:
        raise LimitError(f"'{printable(name[:100])}…' is more than {DEEPEST} directories deep")
