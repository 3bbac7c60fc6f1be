"""An attacker process on its own processor: it swaps two names as fast as the kernel allows."""

import ctypes
import mmap
import os
import signal
import struct
import time
from pathlib import Path
from types import TracebackType

RENAME_EXCHANGE = 2
AT_FDCWD = -100


class Flipping:
    """``with Flipping(a, b) as flips`` swaps both names in a child process; ``flips.count`` is the number of swaps."""

    def __init__(self, first: Path, second: Path) -> None:
        self.names = os.fsencode(first), os.fsencode(second)
        self.shared = mmap.mmap(-1, 8)
        self.pid = 0

    def __enter__(self) -> "Flipping":
        self.pid = os.fork()
        if not self.pid:
            self._flip()
        while not self.count:
            time.sleep(0.001)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    @property
    def count(self) -> int:
        return struct.unpack("Q", self.shared[:8])[0]

    def _flip(self) -> None:
        exchange = ctypes.CDLL(None).renameat2
        first, second = self.names
        count = 0
        while exchange(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE) == 0:
            count += 1
            self.shared[:8] = struct.pack("Q", count)
        os._exit(1)
