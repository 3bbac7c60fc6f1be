"""Functions that open a path with openat2, or one component at a time.

The path never leads out of an open directory. ``confined_root`` explains both mechanisms.
"""

import errno
import sys

from ..model.errors import InputError
from ..oslite import fsencode, libc, os
from .close_in_another_process import close
from .system_calls import O_CLOEXEC, O_NOFOLLOW, O_PATH, PASS, again

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Opener = Callable[[int, str, int, bool, bool], int]

OPENAT2 = "openat2"
WALK = "walk"

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

#: the number of the system call openat2 on every architecture except alpha
_SYS_OPENAT2 = 437
_MAX_LINKS = 40


# --- with openat2: the kernel resolves the whole path


#: the structures open_how for openat2 as bytes, by flags and resolve
_hows: "dict[tuple[int, int], bytes]" = {}


def openat2(parent: int, path: str, flags: int, resolve: int) -> int:
    how = _hows.get((flags, resolve))
    if how is None:
        how = b"".join([word.to_bytes(8, sys.byteorder) for word in (flags, 0, resolve)])
        _hows[flags, resolve] = how
    try:
        descriptor: int = _syscall()(_SYS_OPENAT2, parent, fsencode(path), how, len(how))
    except Exception as error:
        if "RecursionError" in str(error):  # ctypes wraps a RecursionError in another error
            raise RecursionError("directories are nested too deeply") from error
        raise
    if descriptor < 0:
        number = _errno()
        raise OSError(number, os.strerror(number))
    return descriptor


def open_with_openat2(root: int, path: str, flags: int, follow: bool, cross_mounts: bool) -> int:
    resolve = RESOLVE_NO_MAGICLINKS
    resolve |= RESOLVE_IN_ROOT if follow else RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
    if not cross_mounts:
        resolve |= RESOLVE_NO_XDEV
    return openat2(root, path, flags, resolve)


_binding: "list[Callable[..., int]]" = []


def _syscall() -> "Callable[..., int]":
    return _binding[0] if _binding else _bind()


def _errno() -> int:
    return _binding[1]()


def _bind() -> "Callable[..., int]":
    """Return syscall(2). Here, each result is a descriptor or -1, so each result fits into an int."""
    import _ctypes

    call = libc("syscall")
    _binding[:] = [call, _ctypes.get_errno]
    return call


# --- without openat2: one path component at a time, relative to an open descriptor


def open_with_walk(root: int, path: str, flags: int, follow: bool, cross_mounts: bool) -> int:
    names = [] if path == "." else path.split("/")
    if follow:
        names = _resolve(root, names)
    mount = None if cross_mounts else mount_id(root)
    current = os.dup(root) if not names else root
    try:
        for index, name in enumerate(names):
            step = flags | O_NOFOLLOW if index == len(names) - 1 else PASS
            entered = again(os.open, name, step, dir_fd=current)
            if current != root:
                close(current)
            current = entered
            if mount is not None and mount_id(current) != mount:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    except OSError:
        if current != root:
            close(current)
        raise
    if names:
        return current
    close(current)
    return os.open(".", flags, dir_fd=root)


def _resolve(root: int, names: "list[str]") -> "list[str]":
    """Resolve all links as in a chroot. Return the names of the resulting path.

    Magic links of /proc are resolved by their text.
    """
    # ``..`` returns to the open descriptor of the previous directory. So the walk stays inside even if
    # another process moves a directory.
    todo = list(reversed(names))
    held: list[tuple[str, int]] = []
    links = 0
    try:
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if held:
                    close(held.pop()[1])
                continue
            here = held[-1][1] if held else root
            target = _link_target(here, name)
            if target is None and not todo:
                return [*(entered for entered, _ in held), name]
            if target is None:
                held.append((name, again(os.open, name, PASS, dir_fd=here)))
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if target.startswith("/"):
                while held:
                    close(held.pop()[1])
            todo.extend(reversed(target.split("/")))
        return [entered for entered, _ in held]
    finally:
        for _, fd in held:
            close(fd)


def _link_target(parent: int, name: str) -> "str | None":
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):  # the name is not a link, or it is missing
            return None
        raise


def mount_id(fd: int) -> int:
    """Return the mount id of an open file. If /proc is not mounted, return the id of the file's device."""
    # The id of a device is less exact: all bind mounts of the device have the same id.
    try:
        info = os.open(f"/proc/self/fdinfo/{fd}", os.O_RDONLY | O_CLOEXEC)
    except FileNotFoundError:
        return os.fstat(fd).st_dev
    try:
        text = os.read(info, 4096)
    finally:
        close(info)
    return int(text.partition(b"mnt_id:")[2].split(None, 1)[0])


def is_mount_by_id(parent: int, name: str, status: os.stat_result) -> bool:
    """Return whether a name is a mount point.

    Mount ids are compared instead of devices: on overlays and btrfs, one mount has several devices.
    """
    if not hasattr(os, "O_PATH"):
        return os.fstat(parent).st_dev != status.st_dev
    fd = os.open(name, O_PATH | O_NOFOLLOW | O_CLOEXEC, dir_fd=parent)
    try:
        return mount_id(fd) != mount_id(parent)
    finally:
        close(fd)


# choosing the mechanism


def choose_mechanism(wanted: str, root: int) -> "tuple[str, Opener]":
    if wanted not in ("", OPENAT2, WALK):
        raise InputError(
            f"unknown mechanism {wanted!r}", hint=f"set TEMPLATER_CONFINED to {OPENAT2} or {WALK}"
        )
    if wanted == WALK or not _has_openat2(root):
        if wanted == OPENAT2:
            raise InputError("this system has no openat2")
        return WALK, open_with_walk
    return OPENAT2, open_with_openat2


_known: "list[bool]" = []


def _has_openat2(root: int) -> bool:
    """Return whether openat2 works, and cache the result.

    openat2 fails on kernels before 5.6 and under some seccomp filters.
    """
    if not _known:
        _known.append(sys.platform == "linux" and _openat2_works(root))
    return _known[0]


def _openat2_works(root: int) -> bool:
    try:
        close(openat2(root, ".", PASS, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS))
    except (ImportError, AttributeError, OSError):
        return False
    return True
