"""Bytes of a possibly compressed file, read forwards, bounded in size and ratio."""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from collections.abc import Callable
from stat import S_ISREG
from typing import TYPE_CHECKING, Protocol

from ..model.errors import InputError, LimitError, reason
from ..parsing import file_kind
from .limits import DEFAULT, MIB, Limits

if TYPE_CHECKING:
    from types import TracebackType

_CHUNK = 256 * 1024
# beyond so many streams, each has to hold so much on average: to begin another takes longer than to read a
# small one. An archive with a stream for each of its files has a header at least in each
_MANY_STREAMS = 10_000
_LEAST_STREAM = 512


class _Decompressor(Protocol):
    """What the decompressors of bz2, lzma, zstd and lz4 have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Inflate:
    """zlib's object in the shape of the others."""

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


def _zstd(limits: Limits) -> _Decompressor:
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        from backports import zstd
    window = zstd.DecompressionParameter.window_log_max
    made: _Decompressor = zstd.ZstdDecompressor(options={window: limits.window_bytes.bit_length() - 1})
    return made


def _lz4(limits: Limits) -> _Decompressor:
    import lz4.frame  # type: ignore[import-untyped, unused-ignore]

    made: _Decompressor = lz4.frame.LZ4FrameDecompressor()
    return made


def _lzma(format_: int) -> Callable[[Limits], _Decompressor]:
    return lambda limits: lzma.LZMADecompressor(format_, memlimit=limits.window_bytes)


_DECOMPRESSORS: dict[str, Callable[[Limits], _Decompressor]] = {
    file_kind.GZIP: lambda limits: _Inflate(),
    file_kind.BZIP2: lambda limits: bz2.BZ2Decompressor(),
    file_kind.XZ: _lzma(lzma.FORMAT_XZ),
    file_kind.LZMA: _lzma(lzma.FORMAT_ALONE),
    file_kind.ZSTD: _zstd,
    file_kind.LZ4: _lz4,
}


class ByteStream:
    """A file's bytes after decompression, forwards only. Owns the descriptor it is given.

    ``read`` gives exactly what it is asked for except at the end of the file. A second compressed
    stream behind the first is part of the data, as every decompressor has it; anything else behind
    it but zeros is an error.
    """

    def __init__(self, path: str, fd: int, limits: Limits = DEFAULT) -> None:
        self.path = path
        self.limits = limits
        self.packed_size = os.fstat(fd).st_size
        #: bytes handed out so far
        self.position = 0
        self._fd = fd
        self._packed = 0
        self._unpacked = 0
        self._streams = 1
        self._head = _read_fully(fd, file_kind.HEAD)
        self.compression = file_kind.recognise(self._head)
        self._buffer = b""
        self._offset = 0
        self._decompressor: _Decompressor | None = None
        if self.compression in _DECOMPRESSORS:
            self._decompressor = _DECOMPRESSORS[self.compression](limits)
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
        if fd >= 0:
            os.close(fd)

    @property
    def packed_position(self) -> int:
        """How much of the file itself was consumed: progress, and the base of the ratio."""
        return self._packed

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; fewer only at the end of the file."""
        end = self._offset + size
        if end <= len(self._buffer):  # the common case: a header inside the buffer
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
        """The next bytes, without consuming them; ``size`` is at most a few blocks."""
        while len(self._buffer) - self._offset < size:
            more = self._next()
            if not more:
                break
            self._buffer = self._buffer[self._offset :] + more
            self._offset = 0
        return self._buffer[self._offset : self._offset + size]

    def skip(self, size: int) -> int:
        """Pass over ``size`` bytes; the answer is smaller at the end of the file."""
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
        """The next bytes of the file itself."""
        data, self._head = self._head, b""
        try:
            data = data or os.read(self._fd, _CHUNK)
        except OSError as error:
            raise InputError(f"'{self.path}' can't be read: {reason(error)}") from error
        self._packed += len(data)
        return data

    def _next(self) -> bytes:
        if self._decompressor is None:
            return self._take()
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
            if type(error).__name__ == "ZstdError":  # its module has two names
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
                hint="pack it again with a smaller dictionary or window",
            )
        return InputError(
            f"'{self.path}' is damaged: {self.compression}: {str(error) or type(error).__name__}"
        )

    def _decompress(self, decompressor: _Decompressor) -> bytes:
        while True:
            if decompressor.eof:
                following = self._following_stream(decompressor.unused_data or b"")
                if following is None:
                    return b""
                decompressor, rest = following
                data = decompressor.decompress(rest, _CHUNK)
            elif decompressor.needs_input:
                packed = self._take()
                if not packed:
                    raise EOFError("the compressed data ends in the middle: the file was cut short")
                data = decompressor.decompress(packed, _CHUNK)
            else:
                data = decompressor.decompress(b"", _CHUNK)
            if data:
                return data

    def _following_stream(self, rest: bytes) -> tuple[_Decompressor, bytes] | None:
        """A further compressed stream and its first bytes; None at the end, which zeros may pad."""
        while True:
            rest = rest.lstrip(b"\0")
            more = b"" if len(rest) >= 8 else self._take()
            if not more:
                break
            rest += more
        if not rest:
            return None
        if file_kind.recognise(rest[:8]) != self.compression:
            raise EOFError(f"{len(rest)} or more bytes follow the compressed data that are not part of it")
        self._streams += 1
        if self._streams > _MANY_STREAMS and self._unpacked < self._streams * _LEAST_STREAM:
            raise LimitError(
                f"'{self.path}' is made of more than {_MANY_STREAMS} {self.compression} streams"
                " that hold next to nothing",
                hint="pack it again, as one stream",
            )
        self._decompressor = _DECOMPRESSORS[self.compression](self.limits)
        return self._decompressor, rest

    def _check_size(self, size: int) -> None:
        self._unpacked = total = self._unpacked + size
        limits = self.limits
        if total > limits.unpacked_bytes:
            raise LimitError(f"'{self.path}' unpacks to more than {limits.unpacked_bytes} bytes")
        if total > limits.ratio_from and total > self._packed * limits.ratio:
            raise LimitError(
                f"'{self.path}' unpacks to more than {limits.ratio} times its size: "
                f"{total} bytes from {self._packed}",
            )


def open_stream(path: str, limits: Limits = DEFAULT) -> ByteStream:
    """Opens a regular file without ever waiting for it (a fifo is refused, not read)."""
    flags = (
        os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    )
    try:
        fd = os.open(path, flags)
    except OSError as error:
        raise InputError(f"'{path}' can't be opened: {reason(error)}") from None
    if not S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InputError(f"'{path}' is neither a regular file nor a directory")
    return ByteStream(path, fd, limits)


def _read_fully(fd: int, size: int) -> bytes:
    parts = []
    while size > 0:
        part = os.read(fd, size)
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
