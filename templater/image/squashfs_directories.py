"""A check that all tools read the same directories from a squashfs file.

sqfs2tar, unsquashfs and the kernel react differently to inconsistent directories. A hostile file could hide
names from sqfs2tar that the kernel shows.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from io import FileIO
from struct import error as StructError
from struct import unpack_from
from typing import Protocol

from ..model.errors import InputError, LimitError, RefusedError
from .compression_modules import load_lz4, load_zstd
from .limits import Limits
from .lzo import decompress_lzo
from .open_file import reading

_HEAD = 96
_BLOCK = 8192
_ABSENT = (1 << 64) - 1
#: flags of the file. No tool has set ``_CHECK_DATA`` for many years.
_CHECK_DATA, _NO_XATTRS = 4, 0x200
#: maximum number of names below one header, and maximum length of a name, in the kernel
_MOST_NAMES = _LONGEST = 256
_DIRECTORY, _LONG_DIRECTORY = 1, 8
#: One block of inodes or directories is allowed for this many of ``Limits.members``; about 150 is usual. LZO
#: is decompressed in Python, which takes a millisecond for a block.
_MEMBERS_OF_BLOCK, _MEMBERS_OF_LZO_BLOCK = 20, 150
_KEPT_BLOCKS = 2048
#: maximum memory for the dictionary of one block
_MEMORY = 32 << 20

#: a decompressor of one block, which returns at most one byte more than a block has
_Decompress = Callable[[bytes], bytes]


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _one_stream(decompressor: _Decompressor, data: bytes) -> bytes:
    """Decompress a block, which has to be exactly one stream.

    Python stops at the end of the first stream, and some tools continue with the next stream.
    """
    content = decompressor.decompress(data, _BLOCK + 1)
    if len(content) <= _BLOCK and (not decompressor.eof or decompressor.unused_data):
        raise ValueError("the compressed data is not exactly one stream")
    return content


def _inflate(data: bytes) -> bytes:
    return _one_stream(zlib.decompressobj(), data)


def _xz(data: bytes) -> bytes:
    return _one_stream(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY), data)


def _lzma(data: bytes) -> bytes:
    """Decompress LZMA as squashfs-tools do.

    Like these tools, ignore the end of the stream, which some packers do not mark. Other tools read only the
    low four bytes of the size.
    """
    size = int.from_bytes(data[5:13], "little")
    if size > _BLOCK:
        raise ValueError("the compressed data has an invalid size")
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MEMORY)
    content = decompressor.decompress(data[:5] + b"\xff" * 8 + data[13:], _BLOCK)
    if len(content) < size or decompressor.unused_data:
        raise ValueError("the compressed data is not exactly one stream")
    return content[:size]


def _lzo(data: bytes) -> bytes:
    return decompress_lzo(data, _BLOCK)


def load_decompressor(path: str) -> _Decompress:
    """Return the decompressor for a file's blocks. Raises InputError if a module is missing."""
    with reading(path) as file:
        kind = int.from_bytes(file.read(_HEAD)[20:22], "little")
    if kind == 5:
        lz4 = load_lz4("lz4.block")
        return lambda data: bytes(lz4.decompress(data, uncompressed_size=_BLOCK))
    if kind == 6:
        zstd = load_zstd()
        return lambda data: _one_stream(zstd.ZstdDecompressor(), data)
    known = {1: _inflate, 2: _lzma, 3: _lzo, 4: _xz}
    if kind not in known:
        raise InputError(f"'{path}' is a squashfs file with the unknown compression {kind}")
    return known[kind]


def check_directories(path: str, limits: Limits) -> None:
    """Check every directory of a squashfs file.

    Raises RefusedError if tools could read different names, InputError if the file is damaged, and LimitError
    if it has too many names.
    """
    decompress = load_decompressor(path)
    with reading(path) as file:
        head = file.read(_HEAD)
        try:
            flags, root, attributes = (
                unpack_from("<H", head, 24)[0], *unpack_from("<Q", head, 32), *unpack_from("<Q", head, 56),
            )  # fmt: skip
            if flags & _CHECK_DATA:
                raise RefusedError(
                    f"'{path}' has the flag for check data, with which only some tools skip a byte in each "
                    "block, so tools would read different files"
                )
            if flags & _NO_XATTRS and attributes != _ABSENT:
                raise RefusedError(
                    f"'{path}' has extended attributes, although a flag says that it has none: "
                    "only some tools would read the attributes"
                )
            _Walk(path, file, head, decompress, limits).check(root)
        except (StructError, ValueError, OverflowError) as error:
            why = "it was cut short" if isinstance(error, StructError) else str(error)
            raise InputError(f"'{path}' can't be read: {why}") from None


class _Walk:
    def __init__(self, path: str, file: FileIO, head: bytes, decompress: _Decompress, limits: Limits) -> None:
        self._path, self._file, self._decompress, self._limits = path, file, decompress, limits
        self._inodes, self._directories = unpack_from("<QQ", head, 64)
        self._blocks = self._names = 0
        self._read_block = lru_cache(_KEPT_BLOCKS)(self._decompressed)

    def check(self, root: int) -> None:
        """Visit each directory once. ``root`` is the position of the top directory's inode."""
        seen: set[int] = set()
        root_number = self._inode(root)[1]
        #: the place of each inode by its number; sqfs2tar takes names with equal numbers for hard links
        places = {root_number: root}
        todo = [(root, root_number)]
        while todo:
            place, number = todo.pop()
            if number in seen:
                raise self._different("a directory occurs in two places")
            seen.add(number)
            for child, kind, child_number in self._entries(place):
                found, own_number = self._inode(child)
                if (found - 1) % 7 + 1 != kind or own_number != child_number:
                    raise self._different("the type or number of an inode differs from its directory entry")
                if places.setdefault(child_number, child) != child:
                    raise self._different("two inodes have the same number")
                if kind == _DIRECTORY:
                    todo.append((child, child_number))

    def _inode(self, place: int) -> tuple[int, int]:
        """Return the type and the number of an inode."""
        kind, number = unpack_from("<H10xI", self._bytes(self._inodes, place >> 16, place & 0xFFFF, 16))
        return kind, number

    def _entries(self, place: int) -> Iterator[tuple[int, int, int]]:
        """Yield the inode of each name in a directory: its position, type and number."""
        inode = self._bytes(self._inodes, place >> 16, place & 0xFFFF, 32)
        if unpack_from("<H", inode)[0] == _DIRECTORY:
            start, size, offset = unpack_from("<I4xHH", inode, 16)
        else:
            inode = self._bytes(self._inodes, place >> 16, place & 0xFFFF, 40)
            kind, size, start, offset = unpack_from("<H18xII6xH", inode)
            if kind != _LONG_DIRECTORY:
                raise ValueError("the inode of a directory has an invalid type")
        if size <= 3:
            return
        listing = self._bytes(self._directories, start, offset, size - 3)
        at = 0
        last = b""
        while at < len(listing):
            count, block, base = unpack_from("<IIi", listing, at)
            at += 12
            if count >= _MOST_NAMES:
                raise self._different("a header in a directory has too many names")
            self._names += count + 1
            if self._names > self._limits.members:
                raise LimitError(f"'{self._path}' has more than {self._limits.members} members")
            for _ in range(count + 1):
                if at + 8 > len(listing):
                    raise self._different("a directory has more names than its size allows")
                position, difference, kind, length = unpack_from("<HhHH", listing, at)
                at += 9 + length
                if length >= _LONGEST or at > len(listing):
                    raise self._different("a directory has more names than its size allows")
                name = listing[at - length - 1 : at]
                if name <= last:  # the kernel stops its search at a later name
                    raise self._different("the names of a directory are not sorted")
                last = name
                yield block << 16 | position, kind, (base + difference) & 0xFFFFFFFF

    def _bytes(self, table: int, start: int, offset: int, size: int) -> bytes:
        """Return bytes that begin in the block ``start`` of a table and can continue in the next blocks.

        Every block of a table except the last has ``_BLOCK`` bytes.
        """
        data, following = self._read_block(table + start)
        if offset >= len(data):
            raise ValueError("a position is outside of its block")
        if offset + size <= len(data):
            return data[offset : offset + size]
        parts, missing = [data[offset:]], size - len(data[offset:])
        while missing > 0:
            if len(data) != _BLOCK:
                raise ValueError("a block that another block continues has an invalid size")
            data, following = self._read_block(following)
            parts.append(data[:missing])
            missing -= len(data)
        return b"".join(parts)

    def _decompressed(self, position: int) -> tuple[bytes, int]:
        """Return the block at a position of the file, and the position after it."""
        self._blocks += 1
        members = _MEMBERS_OF_LZO_BLOCK if self._decompress is _lzo else _MEMBERS_OF_BLOCK
        if self._blocks > self._limits.members // members + 10:
            raise LimitError(f"'{self._path}' has too many blocks of inodes and directories")
        try:
            self._file.seek(position)
        except (OSError, OverflowError):  # far behind the end
            raise ValueError("a block is outside of the file") from None
        (head,) = unpack_from("<H", self._file.read(2))
        size = head & 0x7FFF
        if size > _BLOCK:
            raise ValueError("a block has an invalid size")
        packed = self._file.read(size)
        if len(packed) != size:
            raise ValueError("the file was cut short")
        try:
            data = packed if head & 0x8000 else self._decompress(packed)
        except Exception as error:  # each compression has its own exceptions
            raise ValueError(f"a block can't be decompressed: {error}") from None
        if not 0 < len(data) <= _BLOCK:
            raise ValueError("a block has an invalid size")
        return data, position + 2 + size

    def _different(self, why: str) -> RefusedError:
        return RefusedError(f"'{self._path}': {why}, so tools would read different files")
