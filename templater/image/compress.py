"""Reproducible compression: the output does not depend on names, times or the number of processors."""

from __future__ import annotations

import bz2
import contextlib
import lzma
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from ..model.counters_of_work import begin_packing
from ..model.errors import UsageError
from ..parsing.file_kind import BZIP2, GZIP, LZ4, LZMA, TAR, XZ, ZSTD
from .compression_modules import load_lz4, load_zstd

NONE = "none"

#: the names that ``--compression`` accepts: the names of the daemons and of the compression tools
NAMES = {
    "none": TAR, "tar": TAR, "gzip": GZIP, "gz": GZIP, "pigz": GZIP, "bzip2": BZIP2, "xz": XZ,
    "pxz": XZ, "lzma": LZMA, "zstd": ZSTD, "zst": ZSTD, "pzstd": ZSTD, "lz4": LZ4,
}  # fmt: skip

# The block size of multithreaded xz: three times the dictionary of its default preset.
_XZ_PIECE = 24 * 1024 * 1024
#: Bytes to compress before checking for ``abandon`` again; compressing them takes a tenth of a second.
_XZ_STEP = 256 * 1024

Write = Callable[[bytes], object]


class Compressor(Protocol):
    def write(self, data: bytes) -> None: ...
    def close(self) -> None:
        """Write the remaining bytes and the end of the compressed data."""

    def abandon(self) -> None:
        """Stop compressing at once, and leave the output incomplete."""


class _Squeezer(Protocol):
    """The common interface of the compressors of bz2, lzma, zlib and zstd."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def compression_by_name(name: str) -> str:
    """Return the compression for a file name, as ``tar --auto-compress`` does."""
    stem, _, ending = os.path.basename(name).rpartition(".")
    if ending == "tar" and stem:
        return "none"
    ending = "gz" if ending == "tgz" else ending if stem.endswith(".tar") else ""
    return {"gz": "gzip", "bz2": "bzip2", "lzma": "lzma", "zst": "zstd", "lz4": "lz4"}.get(ending, "xz")


def compressor(kind: str, write: Write, level: int | None = None) -> Compressor:
    """Return a compressor.

    ``kind`` is a constant of ``parsing.file_kind``: a compression, or TAR for no compression.
    """
    if kind == TAR:
        return _Plain(write)
    if kind == XZ:
        return _ParallelXz(write, 6 if level is None else level)
    return _Stream(write, _squeezer(kind, level))


@contextlib.contextmanager
def compressing(kind: str, write: Write, level: int | None = None) -> Iterator[Compressor]:
    """Yield a compressor, and close it at the end. After an error or Ctrl-C, abandon it instead.

    From this call on, the limits for packing apply.
    """
    begin_packing()
    packer = compressor(kind, write, level)
    try:
        yield packer
        packer.close()
    except BaseException:
        packer.abandon()
        raise


def compression_named(name: str) -> str:
    """Return the compression with this name. Raises UsageError for an unknown name."""
    # Arguments are not allowed: the daemons passed the name with arguments to a shell (CVE-2026-28384).
    if name not in NAMES:
        raise UsageError(f"unknown compression '{name}'", hint=f"use one of {', '.join(NAMES)}")
    return NAMES[name]


def _squeezer(kind: str, level: int | None) -> _Squeezer:
    if kind == GZIP:
        # zlib's header has no name and time 0. The output of gzip.compress() differs between versions.
        return zlib.compressobj(6 if level is None else level, zlib.DEFLATED, 31)
    if kind == BZIP2:
        return bz2.BZ2Compressor(9 if level is None else level)
    if kind == LZMA:
        return lzma.LZMACompressor(lzma.FORMAT_ALONE, preset=6 if level is None else level)
    if kind == ZSTD:
        return _zstd(3 if level is None else level)
    return _Lz4(0 if level is None else level)


def _zstd(level: int) -> _Squeezer:
    zstd = load_zstd()
    # One or more workers give the same bytes, but zero workers give different bytes.
    workers = _processors()
    if zstd.__name__ == "pyzstd":
        key = zstd.CParameter
        made: _Squeezer = zstd.ZstdCompressor(
            {key.compressionLevel: level, key.nbWorkers: workers, key.checksumFlag: 1}
        )
    else:
        key = zstd.CompressionParameter
        options = {key.compression_level: level, key.nb_workers: workers, key.checksum_flag: 1}
        made = zstd.ZstdCompressor(options=options)
    return made


class _Lz4:
    def __init__(self, level: int) -> None:
        self._frame = load_lz4().LZ4FrameCompressor(compression_level=level, content_checksum=True)
        self._header = self._frame.begin()

    def compress(self, data: bytes, /) -> bytes:
        header, self._header = self._header, b""
        packed: bytes = header + self._frame.compress(data)
        return packed

    def flush(self) -> bytes:
        packed: bytes = self._header + self._frame.flush()
        return packed


class _Plain:
    def __init__(self, write: Write) -> None:
        self._write = write

    def write(self, data: bytes) -> None:
        self._write(data)

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class _Stream:
    def __init__(self, write: Write, squeezer: _Squeezer) -> None:
        self._write = write
        self._squeezer = squeezer

    def write(self, data: bytes) -> None:
        packed = self._squeezer.compress(data)
        if packed:
            self._write(packed)

    def close(self) -> None:
        self._write(self._squeezer.flush())

    def abandon(self) -> None:
        pass


class _ParallelXz:
    """A compressor with threads: each piece of the input becomes an xz stream of the output.

    Pieces of a fixed size give the same bytes on every machine. Python can't use the threads of liblzma.
    """

    def __init__(self, write: Write, level: int) -> None:
        self._write = write
        self._level = level
        self._parts: list[bytes] = []
        self._size = 0
        self._pool = ThreadPoolExecutor(_processors())
        self._waiting: deque[Future[bytes]] = deque()
        self._started = False
        self._abandoned = False

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            part = view[: _XZ_PIECE - self._size]
            self._parts.append(bytes(part))
            self._size += len(part)
            view = view[len(part) :]
            if self._size == _XZ_PIECE:
                self._start()

    def close(self) -> None:
        if self._size or not self._started:
            self._start()
        while self._waiting:
            self._write(self._waiting.popleft().result())
        self._pool.shutdown()

    def abandon(self) -> None:
        """Stop the threads soon, because the interpreter waits for all threads at exit."""
        self._abandoned = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        parts, self._parts, self._size, self._started = self._parts, [], 0, True
        self._waiting.append(self._pool.submit(self._squeeze, parts))
        # One more waiting piece than processors keeps all processors busy, and limits the memory.
        while len(self._waiting) > _processors() + 1:
            self._write(self._waiting.popleft().result())

    def _squeeze(self, parts: list[bytes]) -> bytes:
        squeezer = lzma.LZMACompressor(preset=self._level, check=lzma.CHECK_CRC64)
        packed = []
        for part in parts:
            for at in range(0, len(part), _XZ_STEP):
                if self._abandoned:
                    return b""
                packed.append(squeezer.compress(part[at : at + _XZ_STEP]))
        packed.append(squeezer.flush())
        return b"".join(packed)


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows lack os.sched_getaffinity
        return os.cpu_count() or 1
