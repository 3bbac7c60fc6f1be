"""A check that a root filesystem or disk is complete. Only files without a known hash need this check."""

from __future__ import annotations

import os
import sys
from array import array
from io import FileIO

from ..image.open_file import kind_of_file, reading
from ..model.errors import InputError
from ..parsing.file_kind import QCOW2, SQUASHFS
from ..parsing.qcow2 import HEADER

#: the bytes in the header of a squashfs image that contain the size of this image
_SQUASHFS_SIZE = slice(40, 48)
#: parts of an entry in a qcow2 table: the bits of the offset, and the flag of a compressed cluster
_OFFSET, _COMPRESSED = 0x00FF_FFFF_FFFF_FE00, 1 << 62
#: "incompatible features" of qcow2 version 3 that change the tables: an external data file, longer entries
_OTHER_TABLES = 1 << 2 | 1 << 4
#: Limit in bytes on the tables of a disk that templater reads. This is enough for a disk of 128 GiB. Reading
#: more would take too long.
_MOST_TABLES = 16 << 20


def refuse_truncated(path: str) -> None:
    """Raise InputError for a squashfs file or qcow2 disk whose end is missing.

    A disk whose last cluster is incomplete is accepted.
    """
    kind = kind_of_file(path)
    if kind not in (SQUASHFS, QCOW2):
        return
    with reading(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(HEADER + 8)
        needed = (
            int.from_bytes(head[_SQUASHFS_SIZE], "little") if kind == SQUASHFS else _needed(file, head, size)
        )
    if size < needed:
        raise InputError(
            f"'{path}' is cut short: it has {size} bytes, and needs at least {needed}",
            hint="copy or download the file again",
        )


def _needed(file: FileIO, head: bytes, size: int) -> int:
    """Return a lower bound on the size in bytes of a complete qcow2 file, from the offsets in its tables.

    QEMU's qcow2.txt describes the tables.
    """
    bits = int.from_bytes(head[20:24], "big")
    if len(head) < HEADER:
        return HEADER
    features = int.from_bytes(head[72:80], "big") if head[4:8] >= b"\0\0\0\3" else 0
    if not 9 <= bits <= 21 or features & _OTHER_TABLES:
        return 0
    length, begin = 8 * int.from_bytes(head[36:40], "big"), int.from_bytes(head[40:48], "big")
    needed = max(begin + length, int.from_bytes(head[48:56], "big") + 1)
    if needed > size or length > _MOST_TABLES:
        return needed
    tables = {entry & _OFFSET for entry in _entries(file, begin, length)} - {0}
    needed = max(needed, max(tables, default=-1) + 1)
    if needed > size or len(tables) << bits > _MOST_TABLES:
        return needed
    return max(needed, *(_last(_entries(file, table, 1 << bits), bits) + 1 for table in sorted(tables)), 0)


def _last(entries: array[int], bits: int) -> int:
    """Return the offset of a cluster near the end of the file, from the entries of a qcow2 table."""
    largest = max(entries, default=0)
    if largest & _COMPRESSED and not largest >> 63:
        mask = (1 << (62 - (bits - 8))) - 1
        return max(entry & mask for entry in entries if entry & _COMPRESSED)
    return largest & _OFFSET


def _entries(file: FileIO, begin: int, length: int) -> array[int]:
    file.seek(begin)
    data = file.read(length)
    entries = array("Q", data[: len(data) // 8 * 8])
    if sys.byteorder == "little":
        entries.byteswap()
    return entries
