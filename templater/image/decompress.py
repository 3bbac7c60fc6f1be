"""Sequential reading of compressed and uncompressed files, with limits on size and compression ratio."""

from __future__ import annotations

import bz2
import contextlib
import errno
import lzma
import os
import zlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ..model.errors import InputError, LimitError, RefusedError, reason
from ..parsing import file_kind
from .compression_modules import load_lz4, load_zstd
from .limits import DEFAULT, MIB, Limits
from .open_file import OpenFile, open_regular

if TYPE_CHECKING:
    from types import TracebackType

_CHUNK = 256 * 1024
# Each compressed stream costs time, even a tiny stream.
# A file with more than _MANY_STREAMS streams is refused if they average less than _LEAST_STREAM bytes.
# Archives with one stream for each member have larger streams, because each stream has a tar header.
_MANY_STREAMS = 10_000
_LEAST_STREAM = 512
# A decompressor copies the bytes that follow its stream, so it gets only this many bytes at once.
_PIECE = 4096


class _Decompressor(Protocol):
    """The common interface of the decompressors of bz2, lzma, zstd and lz4."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


_Make = Callable[[], _Decompressor]


class _Inflate:
    """zlib's decompressor with the interface of the decompressors of ``bz2`` and ``lzma``."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflate.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, max(max_length, 0))


def _zstd(limits: Limits) -> _Make:
    zstd = load_zstd()
    parameter = (
        zstd.DParameter.windowLogMax
        if zstd.__name__ == "pyzstd"
        else zstd.DecompressionParameter.window_log_max
    )
    return partial(zstd.ZstdDecompressor, None, {parameter: limits.window_bytes.bit_length() - 1})


def _lz4(limits: Limits) -> _Make:
    made: _Make = load_lz4().LZ4FrameDecompressor
    return made


#: the size of a .lzma header, and the value of its size field if the content's size is unknown
_LZMA_HEAD, _UNKNOWN = 13, (1 << 64) - 1


class _Xz:
    """A decompressor of the format .xz that refuses the same files as the program xz.

    The daemons use this program. The library of xz, which this class uses, accepts more files.
    """

    format = lzma.FORMAT_XZ

    def __init__(self, memory: int) -> None:
        self._decompressor = lzma.LZMADecompressor(self.format, memlimit=memory)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decompressor, name)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Decompress a piece of the stream.

        Raises LZMAError if the piece is damaged, or if the program xz does not know the stream's type of
        checksum.
        """
        content = self._decompressor.decompress(data, max_length)
        check = self._decompressor.check
        if check != lzma.CHECK_UNKNOWN and not lzma.is_check_supported(check):
            raise lzma.LZMAError("unknown kind of check sum")
        return content


class _OldLzma(_Xz):
    """A decompressor of the format .lzma, which has no magic number."""

    format = lzma.FORMAT_ALONE

    def __init__(self, memory: int) -> None:
        super().__init__(memory)
        self._head = b""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Decompress a piece of the stream.

        Raises LZMAError if the piece is damaged, or if the program xz refuses the stream's header.
        """
        if len(self._head) < _LZMA_HEAD:
            self._head += data[: _LZMA_HEAD - len(self._head)]
            dictionary = int.from_bytes(self._head[1:5], "little")
            size = int.from_bytes(self._head[5:], "little")
            is_usual = f"{dictionary:b}".rstrip("0") in ("1", "11") or dictionary == 0xFFFFFFFF
            if len(self._head) == _LZMA_HEAD and not (is_usual and (size <= 1 << 38 or size == _UNKNOWN)):
                raise lzma.LZMAError("xz does not accept the size of the dictionary or of the content")
        return super().decompress(data, max_length)


#: for each compression, a function that returns the constructor of a decompressor. It is called once for each
#: file, and loads the modules of zstd and lz4 only then.
_DECOMPRESSORS: dict[str, Callable[[Limits], _Make]] = {
    file_kind.GZIP: lambda limits: _Inflate,
    file_kind.BZIP2: lambda limits: bz2.BZ2Decompressor,
    file_kind.XZ: lambda limits: partial(_Xz, limits.window_bytes),
    file_kind.LZMA: lambda limits: partial(_OldLzma, limits.window_bytes),
    file_kind.ZSTD: _zstd,
    file_kind.LZ4: _lz4,
}


class ByteStream:
    """A forward-only stream of a file's decompressed bytes.

    * ``read`` joins all compressed streams of the file, and skips zeros that ``_may_follow`` allows. Other
      bytes after a stream are an error.
    * The method ``close`` closes the descriptor ``fd`` if ``owns`` is true.
    * ``unpacked_from`` is the compressed size if another program decompresses the file.
    """

    def __init__(
        self, path: str, fd: int, limits: Limits = DEFAULT, *, unpacked_from: int = 0, owns: bool = True
    ) -> None:
        self.path = path
        self._owns = owns
        self.limits = limits
        self.packed_size = os.fstat(fd).st_size
        self._unpacked_from = unpacked_from
        #: decompressed bytes returned so far
        self.position = 0
        self._fd = fd
        self._packed = 0
        self._holes = 0
        self._unpacked = 0
        self._streams = 1
        self._head = _read_fully(fd, file_kind.HEAD)
        self.compression = file_kind.recognise(self._head)
        self._buffer = b""
        self._offset = 0
        #: compressed bytes that the last decompressor did not need, and how many of them were used later
        self._returned = b""
        self._used = 0
        self._decompressor: _Decompressor | None = None
        if self.compression in _DECOMPRESSORS:
            if file_kind.is_also_tar(self._head):
                raise RefusedError(
                    f"'{path}' {file_kind.describe(self.compression)} and a tar archive: some daemons"
                    " read the compressed image from it, and others read the tar archive",
                    hint="pack the image again",
                )
            self._make = _DECOMPRESSORS[self.compression](limits)
            self._decompressor = self._make()
        elif self.compression != file_kind.TAR:
            raise InputError(
                f"'{path}' {file_kind.describe(self.compression)}",
                hint=file_kind.hint_for(self.compression),
            )

    def __enter__(self) -> ByteStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        fd, self._fd = getattr(self, "_fd", -1), -1
        if fd >= 0 and self._owns:
            os.close(fd)

    @property
    def packed_position(self) -> int:
        """Bytes of the compressed file consumed so far, for progress and the compression ratio."""
        return self._packed

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, or fewer at the end of the file."""
        end = self._offset + size
        if end <= len(self._buffer):  # common case: the buffer holds the whole header
            data = self._buffer[self._offset : end]
            self._offset = end
            self.position += size
            return data
        parts = []
        while size > 0 and self._fill():
            part = self._buffer[self._offset : self._offset + size]
            self._offset += len(part)
            size -= len(part)
            parts.append(part)
        data = b"".join(parts)
        self.position += len(data)
        return data

    def peek(self, size: int) -> bytes:
        """Return the next ``size`` bytes, at most a few blocks, without consuming them."""
        while len(self._buffer) - self._offset < size:
            more = self._next()
            if not more:
                break
            self._buffer = self._buffer[self._offset :] + more
            self._offset = 0
        return self._buffer[self._offset : self._offset + size]

    def skip(self, size: int) -> int:
        """Skip ``size`` bytes, or fewer at the end of the file. Return the number of skipped bytes."""
        left = size
        have = min(left, len(self._buffer) - self._offset)
        self._offset += have
        left -= have
        if left and self._decompressor is None:
            left -= self._seek(left)
        while left > 0 and self._fill():
            have = min(left, len(self._buffer) - self._offset)
            self._offset += have
            left -= have
        self.position += size - left
        return size - left

    def skip_zeros(self) -> int | None:
        """Skip zeros and return the position of the next nonzero byte, or None at the end of the file."""
        while True:
            if self._decompressor is None and self._offset >= len(self._buffer):
                self.position += self._skip_hole()
            if not self._fill():
                return None
            rest = self._buffer[self._offset :]
            zeros = len(rest) - len(rest.lstrip(b"\0"))
            self._offset += zeros
            self.position += zeros
            if zeros < len(rest):
                return self.position

    def _skip_hole(self) -> int:
        """Skip a hole of a sparse file. A hole can have any size. Return the number of skipped bytes."""
        if self._head or not hasattr(os, "SEEK_DATA"):
            return 0
        try:
            data = os.lseek(self._fd, self._packed, os.SEEK_DATA)
        except OSError as error:
            data = self.packed_size if error.errno == errno.ENXIO else self._packed
        skipped = data - self._packed
        self._packed = data
        self._holes += skipped
        with contextlib.suppress(OSError):  # a pipe has no position
            os.lseek(self._fd, data, os.SEEK_SET)
        return skipped

    def _seek(self, size: int) -> int:
        size = min(size, self.packed_size - self._packed)
        if size <= len(self._head):
            return 0
        os.lseek(self._fd, self._packed + size, os.SEEK_SET)
        self._packed += size
        self._head = b""
        return size

    def _fill(self) -> bool:
        if self._offset < len(self._buffer):
            return True
        self._buffer, self._offset = self._next(), 0
        return bool(self._buffer)

    def _take(self) -> bytes:
        """Return the next bytes of the compressed file."""
        if self._used < len(self._returned):
            data = self._returned[self._used : self._used + _PIECE]
            self._used += len(data)
            return data
        data, self._head = self._head, b""
        try:
            data = data or os.read(self._fd, _CHUNK)
        except OSError as error:
            raise InputError(f"'{self.path}' can't be read: {reason(error)}") from error
        self._packed += len(data)
        return data

    def _next(self) -> bytes:
        if self._decompressor is None:
            data = self._take()
            if self._unpacked_from:
                self._check_size(len(data))
            return data
        try:
            data = self._decompress(self._decompressor)
        except (
            zlib.error,
            lzma.LZMAError,
            OSError,
            ValueError,
            RuntimeError,
            EOFError,
            ArithmeticError,
        ) as error:
            raise self._damaged(error) from error
        except Exception as error:
            if type(error).__name__ == "ZstdError":  # three modules define this class, so compare its name
                raise self._damaged(error) from error
            raise
        self._check_size(len(data))
        return data

    def _damaged(self, error: Exception) -> InputError | LimitError:
        if "emory" in str(
            error
        ):  # liblzma: "Memory usage limit was exceeded"; zstd: "requires too much memory"
            return LimitError(
                f"'{self.path}' needs more than {self.limits.window_bytes // MIB} MiB to decompress",
                hint="pack the file again with a smaller dictionary or window",
            )
        return InputError(
            f"'{self.path}' is damaged: {self.compression}: {str(error) or type(error).__name__}"
        )

    def _decompress(self, decompressor: _Decompressor) -> bytes:
        while True:
            if decompressor.eof:
                first = self._following_stream(decompressor.unused_data or b"")
                if not first:
                    return b""
                self._decompressor = decompressor = self._make()
                data = decompressor.decompress(first, _CHUNK)
            elif decompressor.needs_input:
                packed = self._take()
                if not packed:
                    raise EOFError("the compressed data ends early: the file was cut short")
                data = decompressor.decompress(packed, _CHUNK)
            else:
                data = decompressor.decompress(b"", _CHUNK)
            if data:
                return data

    def _following_stream(self, rest: bytes) -> bytes:
        """Return the first bytes of the next stream, or b"" at the end of the file."""
        if len(rest) > _PIECE and self._used >= len(self._returned):
            self._returned, self._used, rest = rest, _PIECE, rest[:_PIECE]
        zeros = 0
        while True:
            size = len(rest)
            rest = rest.lstrip(b"\0")
            zeros += size - len(rest)
            if not rest:
                zeros += self._skip_hole()
            more = b"" if len(rest) >= 8 else self._take()
            if not more:
                break
            rest += more
        if zeros and not _may_follow(zeros, rest, self.compression):
            raise EOFError(
                "NUL bytes follow the compressed data,"
                " so other programs refuse the file or ignore the data after these bytes"
            )
        if not rest:
            return b""
        if file_kind.recognise(rest[:8]) != self.compression or self.compression == file_kind.LZMA:
            raise EOFError(f"at least {len(rest)} bytes of other data follow the compressed data")
        self._streams += 1
        if self._streams > _MANY_STREAMS and self._unpacked < self._streams * _LEAST_STREAM:
            raise LimitError(
                f"'{self.path}' has more than {_MANY_STREAMS} {self.compression} streams, most of them empty",
                hint="pack the file again as one stream",
            )
        return rest

    def _check_size(self, size: int) -> None:
        self._unpacked = total = self._unpacked + size
        limits = self.limits
        if total > limits.unpacked_bytes:
            raise LimitError(f"'{self.path}' unpacks to more than {limits.unpacked_bytes} bytes")
        packed = self._unpacked_from or self._packed - self._holes
        if total > limits.ratio_from and total > packed * limits.ratio:
            raise LimitError(
                f"'{self.path}' unpacks to more than {limits.ratio} times its size: "
                f"{total} bytes from {packed}",
                hint="if you trust the image, raise the limit: --limit ratio=…",
            )


def _may_follow(zeros: int, rest: bytes, compression: str) -> bool:
    """Return whether GNU tar's decompression programs accept zeros between compressed data and ``rest``."""
    # xz accepts zeros if their number is a multiple of four. gzip and bzip2 ignore everything after zeros, so
    # ``rest`` must be empty. zstd, lz4 and lzma accept no zeros.
    if compression == file_kind.XZ:
        return zeros % 4 == 0
    return compression in (file_kind.GZIP, file_kind.BZIP2) and not rest


def open_stream(path: str, limits: Limits = DEFAULT) -> ByteStream:
    """Open a regular file for reading. Raise InputError if the file is not regular, for example a fifo."""
    return ByteStream(path, open_regular(path), limits, owns=not isinstance(path, OpenFile))


def _read_fully(fd: int, size: int) -> bytes:
    parts = []
    while size > 0:
        part = os.read(fd, size)
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
