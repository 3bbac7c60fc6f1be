"""A check of the tables of a squashfs file: ids, fragments (blocks with the ends of files), attributes.

The daemons run unsquashfs, which refuses misplaced tables, wrong sizes, and attributes that Linux refuses. If
an attribute continues after the end of its table, unsquashfs and sqfs2tar read different bytes. Then an audit
of sqfs2tar's output could miss a file's capabilities.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from struct import unpack, unpack_from
from typing import NamedTuple

from ..model.errors import LimitError

BLOCK = 8192
ABSENT = (1 << 64) - 1
#: The flag of a squashfs file that begins with a block of options for the compression. LZ4 requires options.
#: Then the number of LZ4, the minimum size of its options, and the first value in them.
_OPTIONS, _LZ4, _LZ4_OPTIONS, _LZ4_LEGACY = 0x400, 5, 8, 1
_HEAD = 96
#: the bytes of an entry of each table
_OWNER, _NUMBER, _FRAGMENT, _LIST = 4, 8, 16, 16
#: masks for an attribute's type: the number of the name's prefix, and the bit for a value stored elsewhere
_PREFIX, _ELSEWHERE = 0xFF, 0x100
_PREFIXES = (b"user.", b"trusted.", b"security.")
#: maximum lengths of a name and a value in Linux
_LONGEST_NAME, _LONGEST_VALUE = 255, 65536
_CAPABILITY = b"security.capability"
#: the two valid formats of a value with capabilities; the second format ends with a user id other than -1
_CAPABILITIES = re.compile(rb"[\x00\x01]\x00\x00(?:\x02.{16}|\x03.{16}(?!\xff{4}).{4})", re.DOTALL)
#: a number of bytes that exceeds the length of any valid value with capabilities
_LONGER = 25


class Reader(NamedTuple):
    """The path of a squashfs file, and two functions that read from a position in the file.

    ``read`` returns bytes. ``read_block`` returns a decompressed block, and the position after the block.
    """

    path: str
    read: Callable[[int, int], bytes]
    read_block: Callable[[int], tuple[bytes, int]]


def check_tables(head: bytes, reader: Reader, most: int) -> frozenset[int]:
    """Check all tables. Return the numbers of the attribute lists that contain an attribute ``user.…``.

    Raises ValueError if unsquashfs refuses a table, and LimitError for more than ``most`` attributes.
    """
    inodes, fragments, kind, flags, owners = unpack_from("<I8xIH2xHH", head, 4)
    end, owner_table, attributes, inode_table, directories, fragment_table, numbers = unpack_from(
        "<7Q", head, 40
    )
    options = reader.read_block(_HEAD)[0] if flags & _OPTIONS else b""
    if kind == _LZ4 and (len(options) < _LZ4_OPTIONS or unpack_from("<I", options)[0] != _LZ4_LEGACY):
        raise ValueError("the options of its compression are invalid")
    found: frozenset[int] = frozenset()
    if attributes != ABSENT:
        found, end = _check_attributes(attributes, end, reader, most)
    if not 0 < owners <= 2 * inodes or fragments > inodes:
        raise ValueError("a table has too many entries")
    end = _blocks(reader, owner_table, owners * _OWNER, end)[0]
    if numbers != ABSENT:
        end = _positions(reader, numbers, inodes * _NUMBER, end)[0]
    if fragments:
        end = _blocks(reader, fragment_table, fragments * _FRAGMENT, end)[0]
    if not inode_table < directories <= end:
        raise ValueError("a table is in a wrong place")
    return found


def _positions(reader: Reader, place: int, size: int, end: int) -> tuple[int, ...]:
    """Return the positions of a table's blocks. The list of positions is between ``place`` and ``end``."""
    length = -(-size // BLOCK) * 8
    if not length or place + length != end:
        raise ValueError("a table is empty, or ends at a wrong position")
    return unpack(f"<{length // 8}Q", reader.read(place, length))


def _blocks(reader: Reader, place: int, size: int, end: int) -> tuple[int, ...]:
    """Return the positions of a table's blocks, after checking the packed and unpacked size of each block."""
    positions = _positions(reader, place, size, end)
    for number, position in enumerate(positions):
        data, following = reader.read_block(position)
        required = min(BLOCK, size - number * BLOCK)
        if len(data) != required or following - position - 2 > required:
            raise ValueError("a block of a table has an invalid size")
    return positions


def _check_attributes(place: int, end: int, reader: Reader, most: int) -> tuple[frozenset[int], int]:
    """Check all lists of attributes.

    The result has two parts:

    * The numbers of the lists with an attribute ``user.…``.
    * The position at which the first table of attributes begins.
    """
    start, count = unpack("<QI", reader.read(place, 12))
    if count > most:
        raise LimitError(f"'{reader.path}' has more than {most} lists of extended attributes")
    positions = _blocks(reader, place + 16, count * _LIST, end)
    values = _Values(reader, start, positions[0])
    lists: list[tuple[int, int, int]] = []
    for position in positions:
        for reference, length in _entries(reader.read_block(position)[0]):
            lists.append((values.at(reference), length, len(lists)))
    found: set[int] = set()
    elsewhere: list[tuple[int, bytes]] = []
    before = left = 0
    # in the order of the file, so that each block is decompressed only a few times
    for at, length, number in sorted(lists):
        left += length
        if left > most:
            raise LimitError(f"'{reader.path}' has more than {most} extended attributes")
        if at < before or not length:
            raise ValueError("the extended attributes overlap")
        before = at
        for _ in range(length):
            word, size = unpack("<HH", values.read(before, 4))
            name = values.read(before + 4, size)
            (value_size,) = unpack("<I", values.read(before + 4 + size, 4))
            value_at = before + 4 + size
            before = value_at + 4 + value_size
            if word & _PREFIX >= len(_PREFIXES):
                raise ValueError("an extended attribute has an unknown type")
            full = _PREFIXES[word & _PREFIX] + name
            if not name or b"\0" in name or len(full) > _LONGEST_NAME:
                raise ValueError("the name of an extended attribute is invalid")
            if b"=" in name:  # in the archive that sqfs2tar writes, the name would end before this character
                raise ValueError("sqfs2tar can't write the name of an extended attribute that contains '='")
            if full.startswith(_PREFIXES[0]):
                found.add(number)
            if not word & _ELSEWHERE:
                values.check(full, value_at)
            elif value_size == 8:  # the size of a reference
                (reference,) = unpack("<Q", values.read(value_at + 4, 8))
                elsewhere.append((values.at(reference), full))
            else:
                raise ValueError("the value of an extended attribute is invalid")
    for at, name in sorted(elsewhere):
        values.check(name, at)
    return frozenset(found), start


def _entries(block: bytes) -> Iterator[tuple[int, int]]:
    """For each list in a block, yield its reference and its number of attributes."""
    for at in range(0, len(block), _LIST):
        yield unpack_from("<QI", block, at)


class _Values:
    """The names and values of attributes, in consecutive blocks. The last block ends at ``end``."""

    def __init__(self, reader: Reader, start: int, end: int) -> None:
        self._reader = reader
        self._start = start
        self._blocks: list[int] = []
        self._size = 0
        while start < end:
            if self._size % BLOCK:
                raise ValueError("a block that is not the last one of its table has an invalid size")
            self._blocks.append(start)
            data, start = reader.read_block(start)
            self._size += len(data)
        if start != end:
            raise ValueError("the extended attributes continue after the end of their table")
        self._numbers = {position: number for number, position in enumerate(self._blocks)}

    def at(self, reference: int) -> int:
        """Convert a reference into a position in the joined content of all blocks."""
        number = self._numbers.get(self._start + (reference >> 16), len(self._blocks))
        return number * BLOCK + (reference & 0xFFFF)

    def read(self, at: int, size: int) -> bytes:
        if at + size > self._size:
            raise ValueError("the extended attributes continue after the end of their table")
        parts: Iterable[bytes] = (
            self._reader.read_block(self._blocks[number])[0]
            for number in range(at // BLOCK, (at + size + BLOCK - 1) // BLOCK)
        )
        first = at // BLOCK * BLOCK
        return b"".join(parts)[at - first : at - first + size]

    def check(self, name: bytes, at: int) -> None:
        """Check the value of an attribute. The size of the value is stored before the value."""
        (size,) = unpack("<I", self.read(at, 4))
        self.read(at + 4 + size, 0)
        if size > _LONGEST_VALUE or (
            name == _CAPABILITY and not _CAPABILITIES.fullmatch(self.read(at + 4, min(size, _LONGER)))
        ):
            raise ValueError("the value of an extended attribute is invalid")
