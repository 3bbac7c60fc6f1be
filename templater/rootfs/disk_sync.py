"""Functions that sync files to the disk.

Each fsync waits for the disk, so ten thousand small files would take a minute. syncfs writes a whole file
system at once, but also waits for the data of other processes. So templater uses syncfs only for many files.

**fsync on btrfs.** fsync writes a file or directory with a name to a log. All processes share the log, so
fsync waits for other processes. fsync also reads other files, with all their extended attributes:

* files that got a name in the same directory after the last commit
* files that had the name of the synced file before

If the directory is in the log, a rename reads the same files. The root user of a container can give these
files gigabytes of attributes, and no limit ends these system calls. Newer kernels also log files without a
name.

**Order on btrfs.** btrfs commits all changes of names in their order. So before a file gets its name,
templater writes the file's content to the disk. A FIEMAP request does this without the log. After a power
cut, a file with this name is complete. If a later change is on the disk, the names are on the disk, too. For
hooks, this order suffices.

**Commits on btrfs.** ``commit`` also waits until the names are on the disk. Its ioctls wait for the metadata
of all processes, but not for the content of other processes' files. ``apply`` commits before the first file
gets its name, so that no file is in the log. ``apply`` commits again after the last file has its name.

**Overlays.** An overlay over btrfs passes FIEMAP on to btrfs, but not the ioctls. So templater opens the
upper layer, or uses syncfs if the layer can't be opened. On a hook's overlay, which has the option
``volatile``, fsync and syncfs do nothing. But the hook has the upper layer open, so it can commit this layer.
"""

import errno
import sys

from ..model.errors import TemplaterError
from ..oslite import call_libc, os, stat
from .close_in_another_process import close, is_on_btrfs
from .confined_directory import NO_UNNAMED, Directory, has_unnamed
from .file_system_type import BTRFS, OVERLAY, is_file_system_of
from .resolve_beneath import mount_id
from .system_calls import again, write_error
from .trusted_paths import open_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    Result = TypeVar("Result")

#: the maximum number of files that are synced one by one
MOST_FSYNCS = 256

#: The types of file systems on which syncfs is as safe as fsync: ext4, xfs, btrfs, f2fs, bcachefs, ZFS,
#: overlayfs and tmpfs. For example, FUSE does not ask its server to sync.
_TYPES = frozenset((
    0xEF53, 0x58465342, BTRFS, 0xF2F52010, 0xCA451A4E, 0x2FC12FC1, OVERLAY, 0x01021994,
))  # fmt: skip

#: the requests BTRFS_IOC_START_SYNC and BTRFS_IOC_WAIT_SYNC, whose argument is the number of a transaction
_START_SYNC = 0x80089418
_WAIT_SYNC = 0x40089416
#: the request BTRFS_IOC_FS_INFO, the size of its answer, and the range of the file system's id in the answer
_FS_INFO = 0x8400941F
_FS_INFO_SIZE = 1024
_FS_ID = slice(16, 32)
#: the request FS_IOC_FIEMAP, and its argument: the whole file, the flag FIEMAP_FLAG_SYNC, no extents
_FIEMAP = 0xC020660B
_WHOLE_FILE = bytes(8) + b"\xff" * 8 + (1).to_bytes(4, sys.byteorder) + bytes(12)
#: errors of a kernel or a system-call filter that does not know these requests
_UNKNOWN = (errno.ENOTTY, errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP)


def sync_contents(action: str, files: "Mapping[int, str]", require_time: "Callable[[], None]") -> None:
    """Write the content of open files to the disk.

    On btrfs, the content is on the disk before any later change of a name.

    * ``files``: the path of each descriptor
    * ``require_time``: is called between two files, and can raise an error

    Raises WriteError, whose message contains ``action`` and the path.
    """
    others = dict(files)
    ordered = []
    for fd, path in files.items():
        try:
            if can_order(fd):
                ordered.append(fd)
        except OSError as error:
            raise write_error(action, path, error) from None
    if len(ordered) > MOST_FSYNCS:
        for fd in ordered:
            _begin_to_write(fd)
    for fd in ordered:
        require_time()
        try:
            if write_content(fd):
                del others[fd]
        except OSError as error:
            raise write_error(action, files[fd], error) from None
    sync_all(action, others)


def write_content(fd: int) -> bool:
    """Write the content of a file on btrfs to the disk, without btrfs's log.

    Return False if that is not possible, for example on another file system.
    """
    # A write to the log would wait for other processes.
    return can_order(fd) and _request(fd, (_FIEMAP,), bytearray(_WHOLE_FILE))


def _begin_to_write(fd: int) -> None:
    """Let the kernel write a file to the disk. Do not wait, because the disk can write many files at once."""
    try:  # noqa: SIM105 - importing contextlib slows down the start of hooks
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError:
        pass


def sync_all(action: str, files: "Mapping[int, str]") -> None:
    """Sync open files and directories to the disk. ``files`` has the path of each descriptor.

    On btrfs, syncing a directory also syncs the files in it whose content is already on the disk.

    Raises WriteError with ``action`` and a path.
    """
    mounts: dict[int, dict[int, str]] = {}
    for fd, path in files.items():
        try:
            if len(files) > MOST_FSYNCS or is_on_btrfs(fd):
                mounts.setdefault(again(mount_id, fd), {})[fd] = path
            else:
                again(os.fsync, fd)
        except OSError as error:
            raise write_error(action, path, error) from None
    for group in mounts.values():
        _sync_mount(action, group)


def _sync_mount(action: str, files: "Mapping[int, str]") -> None:
    """Sync files of one mount with ``commit`` or syncfs. If neither is safe, use fsync."""
    first, path = next(iter(files.items()))
    try:
        if all(_is_directory(fd) or write_content(fd) for fd in files) and commit(first):
            return
        # syncfs reports all write errors since the first file was opened.
        if can_sync_file_system(first):
            # an overlay with the option ``volatile`` syncs nothing, but its upper layer does
            if not _on_btrfs(first, _sync):
                sync_file_system(first)
            return
        for fd, path in files.items():  # noqa: B007 - the error names the path
            again(os.fsync, fd)
    except OSError as error:
        raise write_error(action, path, error) from None


def _is_directory(fd: int) -> bool:
    return stat.S_ISDIR(again(os.fstat, fd).st_mode)


def commit(fd: int) -> bool:
    """Write all changes of a btrfs to the disk, except file content that the kernel still has in memory.

    Return False if that is not possible.
    """
    return bool(_on_btrfs(fd, _commit))


def is_same_btrfs(fd: int, other: int) -> bool:
    """Return whether two open files are on the same btrfs, or on overlays over the same btrfs.

    Return False if the file system can't be identified.
    """
    # Callers need this, because one btrfs commits the changes of both files in their order.
    found = _on_btrfs(fd, _identity)
    return bool(found) and found == _on_btrfs(other, _identity)


def _on_btrfs(fd: int, call: "Callable[[int], Result]") -> "Result | None":
    """Call a function with an open file on btrfs, or with the upper layer of the file's overlay.

    Return None if that is not possible.
    """
    if not can_order(fd):
        return None
    if is_file_system_of({BTRFS}, fd):
        return call(fd)
    upper = _open_upper_layer(fd)
    if upper < 0:
        return None
    try:
        return call(upper)
    finally:
        close(upper)


def _identity(fd: int) -> bytes:
    from fcntl import ioctl

    answer = bytearray(_FS_INFO_SIZE)
    try:
        again(ioctl, fd, _FS_INFO, answer)
    except OSError:
        return b""
    return bytes(answer[_FS_ID])


def _commit(fd: int) -> bool:
    return _request(fd, (_START_SYNC, _WAIT_SYNC), bytearray(8))


def _sync(fd: int) -> bool:
    sync_file_system(fd)
    return True


def _request(fd: int, requests: "tuple[int, ...]", argument: bytearray) -> bool:
    """Call ioctl for each request, and return True. Return False if the kernel doesn't know a request.

    Each request can change the bytes of ``argument``.
    """
    from fcntl import ioctl

    try:
        for request in requests:
            again(ioctl, fd, request, argument)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        return False
    return True


def can_order(fd: int) -> bool:
    """Return whether an open file is on a file system that commits changes in order.

    These file systems are btrfs, and overlays over btrfs.
    """
    return is_on_btrfs(fd) and is_file_system_of({BTRFS, OVERLAY}, fd)


def _open_upper_layer(fd: int) -> int:
    """Open the upper layer of an open file's overlay.

    Return -1 if the upper layer is not on btrfs or can't be opened.
    """
    path = _upper_layer(fd)
    try:
        if path.startswith("/proc/self/fd/"):  # a hook has mounted the overlay, and has the layer open
            upper = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        else:
            upper = open_folder(path, follow=False).fd
        # the process that mounted the overlay may have seen a different directory at this path
        if os.fstatvfs(upper)[:3] == os.fstatvfs(fd)[:3] and is_file_system_of({BTRFS}, upper):
            return upper
        close(upper)
    except (OSError, ValueError, TemplaterError):
        pass
    return -1


def _upper_layer(fd: int) -> str:
    """Return the path of the upper layer of an overlay, or "" if it is unknown."""
    try:
        begin = b"%d " % again(mount_id, fd)
        with open("/proc/self/mountinfo", "rb") as file:
            options = [line.split()[-1] for line in file if line.startswith(begin)]
    except OSError:
        return ""
    for option in b",".join(options).split(b","):
        if option.startswith(b"upperdir=/"):
            return unescaped(option[len(b"upperdir=") :]).decode("utf-8", "surrogateescape")
    return ""


def unescaped(path: bytes) -> bytes:
    """Decode a path of mountinfo. For example, the kernel writes a space as ``\\040``."""
    first, *rest = path.split(b"\\")
    return first + b"".join(bytes((int(each[:3], 8),)) + each[3:] for each in rest)


def create_to_sync(directory: Directory, name: str, mode: int = 0o600) -> int:
    """Create a file for ``sync_and_name``. On btrfs, the file has no name yet, if possible.

    If the file gets its name now, raises FileExistsError for an existing name.
    """
    if is_on_btrfs(directory.fd) and has_unnamed():
        try:
            return directory.create_unnamed(mode)
        except OSError as error:
            if error.errno not in NO_UNNAMED:
                raise
    return directory.create(name, mode)


def sync_and_name(action: str, path: str, fd: int, directory: Directory, name: str) -> None:
    """Sync the content of a file from ``create_to_sync``, and name the file if it has no name yet.

    Raises WriteError with ``action`` and ``path`` if syncing fails, and OSError if the name exists.
    """
    # If the caller then replaces another file, a power cut leaves the complete old content or the complete
    # new content.
    is_unnamed = not os.fstat(fd).st_nlink
    try:
        is_written = write_content(fd)
    except OSError as error:
        raise write_error(action, path, error) from None
    if not is_written:
        sync_all(action, {fd: path})
    if is_unnamed:
        directory.name_unnamed(fd, name)


def sync_file_system(fd: int) -> None:
    """Write all changes of a file system to the disk. Raises OSError if that fails."""
    again(call_libc, "syncfs", fd)


def can_sync_file_system(fd: int) -> bool:
    """Return whether ``sync_file_system`` is as safe as fsync of each file."""
    return is_file_system_of(_TYPES, fd)
