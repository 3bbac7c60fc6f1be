"""Counters that determine the limit on a command's processor time.

The limit grows with the size of opened and received images, and with the number of read instances. The
processor time of programs that read and pack images counts towards the limit.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class FileStatus(Protocol):
        """The fields of an ``os.stat_result`` that this module reads."""

        @property
        def st_dev(self) -> int: ...
        @property
        def st_ino(self) -> int: ...
        @property
        def st_size(self) -> int: ...


_received = 0
_instances = 0
#: the bytes of data in each opened file, by the file's device and inode number
_opened: dict[tuple[int, int], int] = {}
#: functions that return the processor time in seconds of running programs that read or pack images
running_programs: "set[Callable[[], float]]" = set()
#: functions that raise the limits of the running commands to those for packing
allow_packing: "list[Callable[[], None]]" = []


def input_size() -> int:
    """Return the number of bytes that ``received`` counted, plus the size of all opened image files.

    Holes in these files do not count.
    """
    return _received + sum(_opened.values())


def count_opened(status: "FileStatus") -> None:
    """Count the data of an opened image file. Opening it again adds nothing."""
    data = min(status.st_size, getattr(status, "st_blocks", 0) * 512)
    _opened[status.st_dev, status.st_ino] = data


def received(size: int) -> None:
    """Count bytes that a server has sent, or bytes of a directory that this process packs."""
    global _received  # noqa: PLW0603
    _received += size


def instances() -> int:
    """Return the number of instances that were read from daemons."""
    return _instances


def read_instance() -> None:
    """Count an instance that was read from a daemon."""
    global _instances  # noqa: PLW0603
    _instances += 1


def begin_packing() -> None:
    """Increase the limits of the running command, before this process compresses and writes an image."""
    for allow in allow_packing:
        allow()
