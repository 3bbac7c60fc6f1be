"""The lock that allows one apply at a time on a root filesystem.

The lock is an flock on the root directory itself, so it needs no file. Every process that can open that
directory can hold the lock. So a running container can make an apply time out, but can do no other harm with
the lock.
"""

import fcntl
import time

from ..model.errors import BusyError, LimitError, WriteError
from ..model.source import printable
from ..oslite import os
from ..rootfs.confined import Root, again, read_descriptor, write_error
from ..rootfs.held_files import close

_POLL = 0.02
#: maximum seconds in which one apply waits for the locks of mounted files
SECONDS_FOR_MOUNTED = 10.0


def lock(root: Root, wait: float) -> int:
    """Wait for the lock and return its descriptor. Raises BusyError after ``wait`` seconds."""
    try:
        fd = again(os.open, ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root.fd)
    except OSError as error:
        raise write_error("lock", "/", error) from None
    try:
        _wait(fd, root.name, time.monotonic() + wait)
    except BaseException:
        close(fd)
        raise
    return fd


def lock_mounted(fd: int, path: str, until: float) -> None:
    """Lock a mounted file until its descriptor is closed, because several containers can share the file.

    Raises BusyError if another process still holds the lock at the time ``until``. Any process that can open
    the file can hold the lock.
    """
    try:  # noqa: SIM105 - importing contextlib slows down the start of hooks
        _wait(fd, path, until)
    except WriteError:  # the file system has no locks
        pass


def _wait(fd: int, name: str, until: float) -> None:
    while not _locked(fd):
        if time.monotonic() >= until:
            raise BusyError(
                f"{name!r} is being written by {_holder(fd)}",
                hint="wait until that process ends, or allow a longer wait",
            )
        time.sleep(_POLL)


def _locked(fd: int) -> bool:
    try:
        again(fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise write_error("lock", "/", error) from None
    return True


def _holder(fd: int) -> str:
    """Describe the process that holds the lock, from /proc/locks."""
    status = os.fstat(fd)
    device = status.st_dev
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}:{status.st_ino}".encode()
    try:
        for line in _read_file("/proc/locks").splitlines():
            words = line.split()
            if len(words) > 5 and words[1] == b"FLOCK" and words[5] == wanted:
                pid = words[4].decode()
                name = _read_file(f"/proc/{pid}/comm").decode("utf-8", "replace").removesuffix("\n")
                return f"process {pid} ({printable(name)})"
    except (OSError, LimitError):  # LimitError: /proc/locks is too large
        pass
    return "another process"


def _read_file(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_descriptor(fd, 1 << 24, path)
    finally:
        close(fd)
