"""Decompression of the blocks of squashfs files.

The results are the same as in sqfs2tar and unsquashfs. If these tools give different results for some data,
the data is an error here.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from ..model.errors import InputError
from .compression_modules import load_lz4, load_zstd
from .lzo import decompress_lzo
from .open_file import reading

#: numbers of compressions in the head of a squashfs file
GZIP, LZMA, LZO, XZ, LZ4, ZSTD = range(1, 7)
#: maximum memory for the dictionary of one block
_MEMORY = 32 << 20
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
#: maximum size of the header of a zstd frame
_ZSTD_HEAD = 18
#: size of the header of an LZMA stream
_LZMA_HEAD = 13
#: sizes of the start of an XZ stream, and of its end, which follows the index
_XZ_HEAD, _XZ_END = 12, 12
#: maximum size of the header of a block in an XZ stream
_XZ_BLOCK_HEAD = 1024
#: maximum size of a number in an XZ stream
_XZ_NUMBER = 9


class Compression(NamedTuple):
    """Two functions for a compression. Both take a compressed block, and the maximum size of its content.

    * ``decompress`` returns the content. For larger content, it raises an error or returns more bytes.
    * ``content_size`` returns the size of the content, which can be wrong if sqfs2tar rejects the block.
    """

    decompress: Callable[[bytes, int], bytes]
    content_size: Callable[[bytes, int], int]


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _one_stream(decompressor: _Decompressor, data: bytes, most: int) -> bytes:
    """Decompress a block, which has to be exactly one stream."""
    content = decompressor.decompress(data, most + 1)
    # Python stops at the end of the first stream, and some tools continue with the next stream.
    if len(content) <= most and (not decompressor.eof or decompressor.unused_data):
        raise ValueError("the compressed data is not exactly one stream")
    return content


def _inflate(data: bytes, most: int) -> bytes:
    return _one_stream(zlib.decompressobj(), data, most)


def _xz(data: bytes, most: int) -> bytes:
    return _one_stream(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY), data, most)


def _lzma(data: bytes, most: int) -> bytes:
    """Decompress LZMA as squashfs-tools do: return as many bytes as the header states.

    Raises ValueError if the header states more than ``most`` bytes.
    """
    size = int.from_bytes(data[5:13], "little")
    # The header has eight bytes for the size, but some tools read only the low four bytes.
    if size > most:
        raise ValueError("the compressed data has an invalid size")
    # Some packers do not mark the end of the stream.
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MEMORY)
    content = decompressor.decompress(data[:5] + b"\xff" * 8 + data[13:], most)
    if len(content) < size or decompressor.unused_data:
        raise ValueError("the compressed data is not exactly one stream")
    return content[:size]


def load_compression(path: str) -> Compression:
    """Return the compression of a file's blocks. Raises InputError if a module is missing."""
    with reading(path) as file:
        kind = int.from_bytes(file.read(22)[20:], "little")
    if kind == LZ4:
        lz4 = load_lz4("lz4.block")
        return _without_size(lambda data, most: bytes(lz4.decompress(data, uncompressed_size=most)))
    if kind == ZSTD:
        return _zstd(load_zstd())
    known = {
        GZIP: _without_size(_inflate),
        LZMA: Compression(_lzma, _lzma_size),
        LZO: _without_size(decompress_lzo),
        XZ: Compression(_xz, _xz_size),
    }
    if kind not in known:
        raise InputError(f"'{path}' is a squashfs file with the unknown compression {kind}")
    return known[kind]


def _without_size(decompress: Callable[[bytes, int], bytes]) -> Compression:
    """Return the two functions for a compression whose blocks do not record the size of their content."""
    return Compression(decompress, lambda data, most: len(decompress(data, most)))


def _zstd(zstd: Any) -> Compression:
    def decompress(data: bytes, most: int) -> bytes:
        return _one_stream(zstd.ZstdDecompressor(), data, most)

    def content_size(data: bytes, most: int) -> int:
        info = zstd.get_frame_info(data[:_ZSTD_HEAD]) if data[:4] == _ZSTD_MAGIC else None
        if info is None or info.decompressed_size is None:
            return len(decompress(data, most))
        return int(info.decompressed_size)

    return Compression(decompress, content_size)


def _check_dictionary(head: bytes, format: int) -> None:
    """Raise LZMAError if the start of a stream asks for more memory than unsquashfs allows."""
    lzma.LZMADecompressor(format, memlimit=_MEMORY).decompress(head, 1)


def _lzma_size(data: bytes, most: int) -> int:
    _check_dictionary(data[:_LZMA_HEAD], lzma.FORMAT_ALONE)
    return int.from_bytes(data[5:_LZMA_HEAD], "little")


def _xz_size(data: bytes, most: int) -> int:
    """Return the size of an XZ stream's content, and check the dictionary size of each block."""
    # The index at the end of the stream records the size. ``data`` ends with the stream, because sqfs2tar
    # refuses data after the stream.
    end = len(data) - _XZ_END
    start = end - 4 * (int.from_bytes(data[end + 4 : end + 8], "little") + 1)
    if start < 0 or data[start] != 0:
        raise ValueError("an invalid index")
    _, at = _xz_number(data, start + 1)  # the number of blocks
    block, total = _XZ_HEAD, 0
    while block < start:
        _check_dictionary(data[:_XZ_HEAD] + data[block : block + _XZ_BLOCK_HEAD], lzma.FORMAT_XZ)
        stored, at = _xz_number(data, at)
        size, at = _xz_number(data, at)
        block += stored + -stored % 4
        total += size
        if not stored or block > start:
            raise ValueError("an invalid index")
    return total


def _xz_number(data: bytes, at: int) -> tuple[int, int]:
    """Return a number in the index of an XZ stream, and the position after the number."""
    number = 0
    for length in range(_XZ_NUMBER):
        number |= (data[at + length] & 127) << 7 * length
        if data[at + length] < 128:
            return number, at + length + 1
    raise ValueError("an invalid index")
