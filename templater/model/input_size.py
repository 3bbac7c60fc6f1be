"""The size of the images that this process has opened or received, and the number of instances it has read.

The limit on a command's processor time grows with these numbers.
"""

_received = 0
_instances = 0
#: the bytes of data in each opened file, by the file's device and inode number
_opened: dict[tuple[int, int], int] = {}


def input_size() -> int:
    """Return the number of bytes that servers sent, plus the bytes of opened image files outside holes."""
    return _received + sum(_opened.values())


def opened(device: int, inode: int, size: int) -> None:
    """Count the bytes of data in an opened image file once."""
    _opened[device, inode] = size


def received(size: int) -> None:
    """Count bytes that a server sent."""
    global _received  # noqa: PLW0603
    _received += size


def instances() -> int:
    """Return the number of instances that were read from daemons."""
    return _instances


def read_instance() -> None:
    """Count an instance that was read from a daemon."""
    global _instances  # noqa: PLW0603
    _instances += 1
