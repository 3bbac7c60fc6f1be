"""The type of the file system of an open file."""

import sys

from ..oslite import call_libc, memory_with
from .system_calls import again

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

#: the types of overlayfs and btrfs
OVERLAY = 0x794C7630
BTRFS = 0x9123683E

#: more than the size of Linux's ``struct statfs`` on every architecture
_STATFS = 256


def is_overlay(fd: int) -> bool:
    return is_file_system_of({OVERLAY}, fd)


def is_file_system_of(types: "AbstractSet[int]", fd: int) -> bool:
    """Return whether the file system has one of these types. Return False if that cannot be determined."""
    if sys.platform != "linux":
        return False
    status = memory_with(bytes(_STATFS))
    try:
        again(call_libc, "fstatfs", fd, status)
    except OSError:
        return False
    # the field f_type is the first word or, on some architectures, the second half of a larger word
    return not types.isdisjoint(memoryview(bytes(status)[:8]).cast("I"))
