"""Writes that bypass the kernel's page cache, in other threads.

A download of a gigabyte writes each byte once. In the page cache, these bytes cost as much processor time as
their hash, and displace the data of other programs.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

#: the number of bytes to write at once, and the alignment in bytes that file systems want for direct writes
_BLOCK, _ALIGNED = 1 << 20, 4096
#: the number of blocks in memory: one that is filled, and others that are written or wait
_BLOCKS = 3
#: after this many bytes, the kernel is asked to begin writing the cached bytes to the disk
_ADVISED = 8 << 20


class DirectWrites:
    """A writer that appends to an open file. Other threads write the bytes, and add them to the ``digests``.

    The writer collects the bytes in blocks. It passes a block to the threads when the block is full, and the
    last block at the end of the ``with`` statement. Full blocks bypass the page cache if the file system
    permits it. ``start`` is the file's size: the caller must have moved the file's offset to this position.
    """

    def __init__(self, fd: int, start: int, digests: Sequence[hashlib._Hash] = ()) -> None:
        self._fd, self._position, self._advised = fd, start, start
        self._flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        self._direct, self._can_be_direct = False, True
        self._has_failed = False
        # the address of each block is a multiple of the page size
        self._blocks = deque(memoryview(mmap.mmap(-1, _BLOCK)) for _ in range(_BLOCKS))
        # After a start in the middle of a block, the first write ends where the next block begins.
        self._filled, self._end = 0, _BLOCK - start % _BLOCK
        tasks = [*(digest.update for digest in digests), self._write]
        self._threads = [(ThreadPoolExecutor(1), task) for task in tasks]
        self._used: deque[list[Future[None]]] = deque()

    def __enter__(self) -> DirectWrites:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._hand_over()
            while kind is None and self._used:
                self._wait()
        finally:
            for thread, _ in self._threads:
                thread.shutdown()
            self._set_direct(False)

    def append(self, piece: bytes) -> None:
        """Append bytes. Raises OSError if this or an earlier write fails."""
        view = memoryview(piece)
        while view:
            taken = view[: self._end - self._filled]
            self._blocks[0][self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            if self._filled == self._end:
                self._hand_over()
            view = view[len(taken) :]

    def _hand_over(self) -> None:
        """Give the filled block to the other threads. Wait until the next block is free."""
        block = self._blocks[0][: self._filled]
        self._used.append([thread.submit(task, block) for thread, task in self._threads])
        self._blocks.rotate(-1)
        self._filled, self._end = 0, _BLOCK
        if len(self._used) == _BLOCKS:
            self._wait()

    def _wait(self) -> None:
        for future in self._used.popleft():
            future.result()

    def _write(self, block: memoryview) -> None:
        if self._has_failed:
            return  # the file would have a gap
        self._has_failed = True
        while block:
            self._set_direct(self._can_be_direct and not (self._position | len(block)) % _ALIGNED)
            try:
                size = os.write(self._fd, block)
            except OSError as error:
                if not self._direct or error.errno != errno.EINVAL:
                    raise
                self._can_be_direct = False  # the file system wants another alignment
                continue
            self._position += size
            block = block[size:]
        self._has_failed = False
        if self._position - self._advised >= _ADVISED:
            # This advice makes the kernel begin to write the pages of the file. Unwritten pages stay in
            # memory.
            os.posix_fadvise(self._fd, self._advised, self._position - self._advised, os.POSIX_FADV_DONTNEED)
            self._advised = self._position

    def _set_direct(self, direct: bool) -> None:
        if direct != self._direct:
            try:
                fcntl.fcntl(self._fd, fcntl.F_SETFL, self._flags | (os.O_DIRECT if direct else 0))
            except OSError:  # raised by file systems without direct writes
                self._can_be_direct = False
            else:
                self._direct = direct
