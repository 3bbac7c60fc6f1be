"""The locks that allow one run at a time on a root filesystem, and on each shared directory or file.

Each lock is an flock on the directory or file itself. A container can hold the lock of its root directory. So
the container can make ``apply`` time out, but can do no further harm.
"""

import fcntl
import time

from ..model.entry import parents_below
from ..model.errors import BusyError, InputError, LimitError, WriteError
from ..model.unprintable_characters import printable
from ..oslite import os
from ..rootfs.close_in_another_process import close
from ..rootfs.confined_root import Root
from ..rootfs.regular_files import read_descriptor
from ..rootfs.system_calls import again, write_error
from .remove_leftovers import above, attempt, identity

_POLL = 0.02
#: maximum seconds in which one run waits for the locks of the mounted files that it changes
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


def lock_all(
    root: Root, changed: "list[str]", unchanged: "list[str]", wait: float
) -> "tuple[list[int], bool]":
    """Lock the root directory, and each directory between a mount point and one of the files.

    For each mounted file in ``unchanged``, only wait until no other run has locked this file. Mounted files
    in ``changed`` are locked later, by ``MountedFile``. Return the descriptors, and whether this function had
    to wait.

    Raises BusyError after ``wait`` seconds for all locks together.
    """
    held: list[int] = []
    end = time.monotonic() + wait
    try:
        try:
            held.append(lock(root, 0.0))
            waited = False
        except BusyError:
            held.append(lock(root, wait))
            waited = True
        if root.cross_mounts:
            waited |= _lock_directories(root, [*changed, *unchanged], held, end)
            for path in dict.fromkeys(unchanged):
                waited |= _has_waited(root, path, end)
    except BaseException as error:
        for fd in held:
            close(fd)
        if isinstance(error, InputError):  # a system call failed while looking for mounts
            raise WriteError(error.message, hint=error.hint) from None
        if isinstance(error, OSError):
            raise write_error("lock", "/", error) from None
        raise
    return held, waited


def _has_waited(root: Root, path: str, end: float) -> bool:
    """Wait until no other process has the lock of a mounted file. Return whether a process had the lock."""
    entry = root.entry(path)
    if entry is None or not entry.is_mount:
        return False
    fd = root.open(path)
    try:
        waited = lock_mounted(fd, path, end)
        attempt(fcntl.flock, fd, fcntl.LOCK_UN)  # ``close`` can keep a removed file open until the end
    finally:
        close(fd)
    return waited


def _lock_directories(root: Root, paths: "list[str]", held: "list[int]", end: float) -> bool:
    """Lock the directories at and below mount points. Every run locks them in the same order: by inode.

    Add the new descriptors to ``held``, which begins with the descriptor of the locked root directory. Return
    whether this function had to wait.
    """
    below_mounts: set[str] = set()
    found: dict[tuple[int, int], tuple[int, str]] = {}
    for path in dict.fromkeys(parent for below in paths for parent in parents_below(below, 0)):
        entry = root.entry(path)
        # another container can mount only a subdirectory of the volume, so lock the directories below, too
        if entry is not None and (entry.is_mount or above(path) in below_mounts):
            below_mounts.add(path)
            with root.directory(path) as directory:
                fd = again(os.open, ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory.fd)
            held.append(fd)
            found.setdefault(identity(fd), (fd, path))
    found.pop(identity(held[0]), None)
    waited = False
    for _, (fd, path) in sorted(found.items()):
        waited |= lock_mounted(fd, path, end)
    return waited


def lock_mounted(fd: int, path: str, until: float) -> bool:
    """Lock a mounted file or directory until its descriptor is closed.

    Return whether another process had the lock, or False if the file system has no locks. Raises BusyError
    if another process still holds the lock at the time ``until``.
    """
    try:
        # Several containers can share a mounted file.
        if _locked(fd):
            return False
        _wait(fd, path, until)
    except WriteError:
        return False
    return True


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
