"""A check that all tools read the same directories from a squashfs file.

A hostile squashfs file could have names that the kernel shows, but that sqfs2tar skips. The daemons run
unsquashfs, which fails for some owners, inode numbers, names and tables that sqfs2tar accepts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from io import FileIO
from struct import error as StructError
from struct import iter_unpack, unpack_from

from ..model.errors import InputError, LimitError, RefusedError
from ..rootfs.paths import PATH_MAX
from .limits import Limits
from .open_file import data_bytes, reading
from .squashfs_compression import LZO, Compression, load_compression
from .squashfs_tables import ABSENT, BLOCK, Reader, check_tables

_HEAD = 96
#: flags of the file. No tool has set ``_CHECK_DATA`` for many years.
_CHECK_DATA, _NO_XATTRS = 4, 0x200
#: maximum number of names below one header, and maximum length of a name, in the kernel
_MOST_NAMES = _LONGEST = 256
_DIRECTORY, _FILE, _SOCKET, _LONG_DIRECTORY = 1, 2, 7, 8
#: For each type of inode, the offset in bytes of the number of its attribute list. In a link's inode, the
#: target of the link precedes the number.
_LINK, _PLACES_OF_ATTRIBUTES = 10, {10: 24, 11: 24, 12: 24, 13: 20, 14: 20}
#: An inode has a word for each block. The word is the block's size in the squashfs file, plus this bit if the
#: block is not compressed.
_STORED = 1 << 24
_NO_FRAGMENT = 0xFFFFFFFF
#: The limit on blocks of inodes and directories is ``Limits.members`` divided by this number. A block usually
#: describes about 150 members. Python decompresses LZO itself, which takes a millisecond for a block.
_MEMBERS_OF_BLOCK, _MEMBERS_OF_LZO_BLOCK = 20, 150
_KEPT_BLOCKS = 2048
#: maximum size of file data that Python decompresses with LZO, which takes four seconds
_MOST_LZO = 32 << 20


def check_directories(path: str, limits: Limits) -> Collection[int]:
    """Check every directory of a squashfs file. Return the numbers that sqfs2tar gives to sockets.

    sqfs2tar numbers all names in the order of its visits, from 0 for the top directory. Its archive has no
    member for a socket, but it can have an extended header with the socket's number.

    Raises:
        RefusedError: tools could read different names.
        InputError: the file is damaged.
        LimitError: the file exceeds a limit.
    """
    compression, packed = load_compression(path), data_bytes(path)
    with reading(path) as file:
        head = file.read(_HEAD)
        try:
            flags, root, attributes = (
                unpack_from("<H", head, 24)[0], *unpack_from("<Q", head, 32), *unpack_from("<Q", head, 56),
            )  # fmt: skip
            if flags & _CHECK_DATA:
                raise RefusedError(
                    f"'{path}' has the flag for check data: only some tools then skip a byte in each block, "
                    "so tools would read different files"
                )
            if flags & _NO_XATTRS and attributes != ABSENT:
                raise RefusedError(
                    f"'{path}' has extended attributes, although a flag says that it has none: "
                    "only some tools would read the attributes"
                )
            return _Walk(path, file, head, compression, limits, packed).check(root)
        except (StructError, ValueError, OverflowError) as error:
            why = "it was cut short" if isinstance(error, StructError) else str(error)
            raise InputError(f"'{path}' can't be read: {why}") from None


class _Walk:
    def __init__(
        self, path: str, file: FileIO, head: bytes, compression: Compression, limits: Limits, packed: int
    ) -> None:
        """``packed`` is the size of the squashfs file without its holes."""
        self._path, self._file, self._compression, self._limits = path, file, compression, limits
        self._packed = packed
        self._inode_count, self._block_size, kind, self._block_log, self._owners = unpack_from(
            "<I4xI4xHH2xH", head, 4
        )
        self._head = head
        self._is_lzo = kind == LZO
        self._inodes, self._directories = unpack_from("<QQ", head, 64)
        (self._fragment_count,) = unpack_from("<I", head, 16)
        (self._fragment_table,) = unpack_from("<Q", head, 80)
        #: decompressed size of each fragment block (with the ends of several files), by the block's number
        self._fragments: dict[int, int] = {}
        #: the numbers of the lists with an attribute ``user.…``, which only files and directories can have
        self._user_lists: frozenset[int] = frozenset()
        self._blocks = self._names = self._data = self._fragment_data = self._lzo_data = 0
        self._read_block = lru_cache(_KEPT_BLOCKS)(self._decompressed)

    def check(self, root: int) -> set[int]:
        """Visit each directory once, in the order of sqfs2tar. Return the numbers of the sockets.

        ``root`` is the position of the top directory's inode.
        """
        sockets: set[int] = set()
        if not 12 <= self._block_log <= 20 or self._block_size != 1 << self._block_log:
            raise ValueError("invalid block size")
        reader = Reader(self._path, self._read, self._read_block)
        self._user_lists = check_tables(self._head, reader, self._limits.members)
        root_number = self._inode(root)[1]
        #: the position of each inode, by its number; sqfs2tar treats names with equal numbers as hard links
        places = {root_number: root}
        open_directories = [self._entries(root)]
        while open_directories:
            entry = next(open_directories[-1], None)
            if entry is None:
                open_directories.pop()
                continue
            child, kind, child_number = entry
            found, own_number = self._inode(child)
            if (found - 1) % 7 + 1 != kind or own_number != child_number:
                raise self._different("the type or number of an inode differs from its directory entry")
            is_new = child_number not in places
            if places.setdefault(child_number, child) != child:
                raise self._different("two inodes have the same number")
            if kind == _FILE and is_new:
                self._check_data(child)
            elif kind == _SOCKET:
                if not is_new:  # sqfs2tar skips only the first name
                    raise ValueError("a socket has several hard links")
                sockets.add(self._names)
            elif kind == _DIRECTORY:
                if not is_new:
                    raise self._different("a directory occurs in two places")
                if len(open_directories) > PATH_MAX // 2:
                    raise ValueError("the directories are nested deeper than Linux allows")
                open_directories.append(self._entries(child))
        return sockets

    def _inode(self, place: int) -> tuple[int, int]:
        """Return the type and the number of an inode."""
        kind, user, group, number = unpack_from(
            "<H2xHH4xI", self._bytes(self._inodes, place >> 16, place & 0xFFFF, 16)
        )
        if max(user, group) >= self._owners:
            raise ValueError("the owner of an inode is outside of the table")
        if not 0 < number <= self._inode_count:
            raise ValueError("the number of an inode is invalid")
        if kind in _PLACES_OF_ATTRIBUTES and self._user_lists:
            at = _PLACES_OF_ATTRIBUTES[kind]
            if kind == _LINK:
                at += unpack_from("<I", self._bytes(self._inodes, place >> 16, place & 0xFFFF, at), at - 4)[0]
            inode = self._bytes(self._inodes, place >> 16, place & 0xFFFF, at + 4)
            if unpack_from("<I", inode, at)[0] in self._user_lists:
                raise ValueError("a link, device, pipe or socket has an attribute that only files can have")
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
            for _ in range(count + 1):
                self._names += 1
                if self._names > self._limits.members:
                    raise LimitError(f"'{self._path}' has more than {self._limits.members} members")
                if at + 8 > len(listing):
                    raise self._different("a directory has more names than its size allows")
                position, difference, kind, length = unpack_from("<HhHH", listing, at)
                at += 9 + length
                if length >= _LONGEST or at > len(listing):
                    raise self._different("a directory has more names than its size allows")
                name = listing[at - length - 1 : at]
                if b"\0" in name or b"/" in name or name in (b".", b".."):
                    raise self._different("a directory contains an invalid name")
                if name <= last:  # the kernel stops a search at a name that sorts later
                    raise self._different("the names of a directory are not sorted")
                last = name
                yield block << 16 | position, kind, (base + difference) & 0xFFFFFFFF

    def _check_data(self, place: int) -> None:
        """Refuse a regular file if the size of one of its blocks does not match the file's size."""
        inode = self._bytes(self._inodes, place >> 16, place & 0xFFFF, 32)
        if unpack_from("<H", inode)[0] == _FILE:
            begin, fragment, offset, size = unpack_from("<4I", inode, 16)
        else:
            inode = self._bytes(self._inodes, place >> 16, place & 0xFFFF, 56)
            begin, size, fragment, offset = unpack_from("<QQ12xII", inode, 16)
        count, rest = divmod(size, self._block_size)
        if rest and fragment == _NO_FRAGMENT:
            count += 1
        elif rest and offset + rest > self._fragment_size(fragment):
            # sqfs2tar and unsquashfs would append different bytes to the file.
            raise self._different("the last bytes of a file are outside of their fragment block")
        if not count:
            return
        self._data = self._limited(self._data + size)
        words = self._bytes(self._inodes, place >> 16, place & 0xFFFF, len(inode) + 4 * count)[len(inode) :]
        for (word,) in iter_unpack("<I", words):
            required = min(size, self._block_size)
            # sqfs2tar copies a block of a wrong size to its archive. Readers of the archive can then read the
            # next headers as data of the file.
            if word and self._content_size(begin, word, required) != required:
                raise self._different("the size of a block does not match the size of its file")
            begin += word & (_STORED - 1)
            size -= required

    def _fragment_size(self, number: int) -> int:
        """Return the decompressed size of a fragment block.

        A fragment block has the last bytes of several files.
        """
        if number not in self._fragments:
            if number >= self._fragment_count:
                raise ValueError("a fragment block is not in its table")
            (table,) = unpack_from("<Q", self._read(self._fragment_table + number // 512 * 8, 8))
            begin, word = unpack_from("<QI", self._bytes(table, 0, number % 512 * 16, 16))
            self._fragment_data = self._limited(self._fragment_data + self._block_size)
            self._fragments[number] = self._content_size(begin, word, self._block_size)
        return self._fragments[number]

    def _content_size(self, begin: int, word: int, most: int) -> int:
        """Return the size of a block's content."""
        stored = word & (_STORED - 1)
        if stored > most or word & ~_STORED != stored:
            raise ValueError("a block has an invalid size")
        if word & _STORED:
            return stored
        if self._is_lzo:
            self._lzo_data += most
            if self._lzo_data > _MOST_LZO:
                raise LimitError(
                    f"templater decompresses at most {_MOST_LZO >> 20} MiB of LZO data, but"
                    f" '{self._path}' has more",
                    hint="pack the file again with another compression",
                )
        packed = self._read(begin, stored)
        try:
            return self._compression.content_size(packed, most)
        except Exception as error:  # each compression has its own exceptions
            raise ValueError(f"a block can't be decompressed: {error}") from None

    def _limited(self, size: int) -> int:
        """Return ``size``, a number of unpacked bytes. Raises LimitError if it exceeds a limit."""
        limits = self._limits
        if size > limits.unpacked_bytes:
            raise LimitError(f"'{self._path}' unpacks to more than {limits.unpacked_bytes} bytes")
        if size > limits.ratio_from and size > self._packed * limits.ratio:
            raise LimitError(
                f"'{self._path}' unpacks to more than {limits.ratio} times its size: "
                f"{size} bytes from {self._packed}",
                hint="if you trust the image, raise the limit: --limit ratio=…",
            )
        return size

    def _bytes(self, table: int, start: int, offset: int, size: int) -> bytes:
        """Return bytes that begin in the block ``start`` of a table and can continue in the next blocks."""
        data, following = self._read_block(table + start)
        if offset >= len(data):
            raise ValueError("a position is outside of its block")
        if offset + size <= len(data):
            return data[offset : offset + size]
        parts, missing = [data[offset:]], size - len(data[offset:])
        while missing > 0:
            if len(data) != BLOCK:
                raise ValueError("a block that is not the last one of its table has an invalid size")
            data, following = self._read_block(following)
            parts.append(data[:missing])
            missing -= len(data)
        return b"".join(parts)

    def _decompressed(self, position: int) -> tuple[bytes, int]:
        """Return the block at a position of the file, and the position after it."""
        self._blocks += 1
        members = _MEMBERS_OF_LZO_BLOCK if self._is_lzo else _MEMBERS_OF_BLOCK
        if self._blocks > self._limits.members // members + 10:
            raise LimitError(f"'{self._path}' has too many blocks of inodes and directories")
        (head,) = unpack_from("<H", self._read(position, 2))
        size = head & 0x7FFF
        if size > BLOCK:
            raise ValueError("a block has an invalid size")
        packed = self._read(position + 2, size)
        try:
            data = packed if head & 0x8000 else self._compression.decompress(packed, BLOCK)
        except Exception as error:  # each compression has its own exceptions
            raise ValueError(f"a block can't be decompressed: {error}") from None
        if not 0 < len(data) <= BLOCK:
            raise ValueError("a block has an invalid size")
        return data, position + 2 + size

    def _read(self, position: int, size: int) -> bytes:
        try:
            self._file.seek(position)
        except (OSError, OverflowError):  # the position is far behind the end of the file
            raise ValueError("a block is outside of the file") from None
        data = self._file.read(size)
        if len(data) != size:
            raise ValueError("the file was cut short")
        return data

    def _different(self, why: str) -> RefusedError:
        return RefusedError(f"'{self._path}': {why}, so tools would read different files")
