"""System calls on files: open flags, functions that repeat a call, and the meaning of results and errors."""

import errno

from ..model.entry import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FIFO, FILE, SOCKET, SYMLINK, Entry
from ..model.errors import InputError, WriteError, reason
from ..oslite import os, stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    Arguments = ParamSpec("Arguments")
    Result = TypeVar("Result")

#: how many times an operation is tried while another process keeps changing the file
ATTEMPTS = 64

O_PATH = getattr(os, "O_PATH", os.O_RDONLY)
O_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
O_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
O_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
O_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
O_NOCTTY = getattr(os, "O_NOCTTY", 0)

#: open flags: to stat a file, to walk through a directory, to keep and list a directory, to read a file
LOOK = (O_PATH or O_NONBLOCK | O_NOCTTY) | O_CLOEXEC
PASS = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
HOLD = os.O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK
READ = os.O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY

_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFIFO: FIFO,
    stat.S_IFSOCK: SOCKET,
    stat.S_IFCHR: CHAR_DEVICE,
    stat.S_IFBLK: BLOCK_DEVICE,
}

_HINTS = {
    errno.ENOSPC: "the file system is full: free some space and try again",
    errno.EDQUOT: "the disk quota is used up: raise the quota or free some space, and try again",
    errno.EROFS: "the file system is mounted read-only: mount it writable first",
    errno.EPERM: "run templater as root, and check whether the file is immutable or append-only (lsattr)",
    errno.EACCES: "no permission: run templater as root or as the owner",
    errno.EIO: "the storage failed: look at the kernel's log (dmesg) before you try again",
    errno.EBUSY: "another file system is mounted at this path",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n)",
    errno.ENOTSUP: "the file system does not support this operation",
    errno.EOVERFLOW: "the id map of the mount does not map this user: install the hook with --in-place, so"
    " that the hook runs in the container's namespaces",
}


def bytes_of(status: "os.stat_result") -> int:
    """Return the size of a file or the total size of its blocks, whichever is larger."""
    return max(status.st_size, status.st_blocks * 512)


def kind_of(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "file of unknown type")


def read_error(path: str, error: OSError) -> InputError:
    """Return an InputError with the path, the reason and a hint."""
    return InputError(f"{path!r} can't be read: {reason(error)}", hint=_HINTS.get(error.errno or 0, ""))


def write_error(action: str, path: str, error: OSError) -> WriteError:
    """Return a WriteError with the action, the path, the reason and a hint."""
    return WriteError(f"can't {action} {path!r}: {reason(error)}", hint=_HINTS.get(error.errno or 0, ""))


def again(
    call: "Callable[Arguments, Result]", /, *args: "Arguments.args", **options: "Arguments.kwargs"
) -> "Result":
    """Make a system call. Repeat the call after EINTR and EAGAIN, a limited number of times."""
    for _ in range(ATTEMPTS - 1):
        try:
            return call(*args, **options)
        except OSError as error:
            if error.errno not in (errno.EINTR, errno.EAGAIN):
                raise
    return call(*args, **options)


def lstat_at(parent: int, name: str) -> os.stat_result:
    return os.stat(name, dir_fd=parent, follow_symlinks=False)


def entry_of(status: os.stat_result, target: str, *, is_mount: bool) -> Entry:
    """Return an Entry with values that do not depend on the file system.

    Constants replace the sizes and link counts of directories, and the modes of links.
    """
    mode = status.st_mode
    kind = kind_of(mode)
    regular = kind == FILE
    return Entry(
        kind,
        0o777 if kind == SYMLINK else stat.S_IMODE(mode),
        status.st_uid,
        status.st_gid,
        status.st_size if regular else 0,
        1 if kind == DIRECTORY else status.st_nlink,
        target,
        is_mount,
        status.st_rdev if kind in (CHAR_DEVICE, BLOCK_DEVICE) else 0,
    )
