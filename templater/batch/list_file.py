"""A list of instances in a file that several processes read, each its own blocks of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence


class ListFile:
    """What a descriptor has from where it stands: a block is named by its place and size."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._place = os.lseek(descriptor, 0, os.SEEK_CUR)
        self._end = os.fstat(descriptor).st_size

    def has(self, size: int) -> bool:
        return self._place + size <= self._end

    def window(self, start: int, stop: int) -> bytes:
        return self._bytes(self._place + start, self._place + stop)

    def take(self, size: int | None = None) -> bytes:
        size = max(0, self._end - self._place) if size is None else size
        block = b"%d %d" % (self._place, self._place + size)
        self._go_to(self._place + size)
        return block

    def give_back(self, blocks: Sequence[bytes]) -> None:
        if blocks:
            self._go_to(int(blocks[0].split()[0]))

    def data_of(self, block: bytes) -> bytes:
        start, stop = map(int, block.split())
        return self._bytes(start, stop)

    def read(self, size: int) -> bytes:
        data = os.pread(self._descriptor, size, self._place)
        self._go_to(self._place + len(data))
        return data

    def _go_to(self, place: int) -> None:
        """The descriptor goes along, as if it were read: whoever shows progress looks there."""
        self._place = os.lseek(self._descriptor, place, os.SEEK_SET)

    def _bytes(self, start: int, stop: int) -> bytes:
        parts: list[bytes] = []
        while start < stop and (part := os.pread(self._descriptor, stop - start, start)):
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def can_be_shared(descriptor: int) -> bool:
    """Whether it is a file that can be read at any place, which a pipe can't."""
    return stat.S_ISREG(os.fstat(descriptor).st_mode)
