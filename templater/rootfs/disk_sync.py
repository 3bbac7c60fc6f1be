"""Functions that sync files to the disk.

Each fsync waits for the disk, so ten thousand small files would take a minute. syncfs writes all changes of a
file system at once. But syncfs also waits for the data of other processes: half a minute, if another
container writes without pause. So templater uses syncfs only for many files.

**btrfs.** After fsync of a file or directory with a name, btrfs can restore the file after a power cut from a
log. For this log, fsync also reads other files with all extended attributes: files that got a name in the
directory or moved away from the name since the last commit. A rename or link does the same, if the file or
its directory is in the log already. The root user of a container can choose these files, and gigabytes of
attributes. No limit ends this system call. So on btrfs:

* templater calls fsync only for files without a name, for which btrfs writes the content and no log.
* ``commit`` writes all other changes: two ioctls commit the current transaction. Unlike syncfs, they do not
  write the content of other processes' files. After a commit, no file is in the log.
* templater commits before it renames or links the first file, even if it syncs nothing.

A file that has a name before it is synced needs syncfs: a mounted file, or any file if /proc is missing.

An overlay over btrfs does not pass on the ioctls. So ``commit`` opens the upper layer, whose path is in
/proc/self/mountinfo. If that fails, templater uses syncfs.
"""

import errno

from ..model.errors import TemplaterError
from ..oslite import call_libc, os, stat
from .confined import NO_UNNAMED, Directory, again, has_unnamed, mount_id, write_error
from .file_system_type import BTRFS, OVERLAY, is_file_system_of
from .held_files import close, is_on_btrfs
from .trusted_paths import open_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

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
#: errors of a kernel or a system-call filter that does not know these requests
_UNKNOWN = (errno.ENOTTY, errno.ENOSYS, errno.EPERM, errno.EACCES)


def sync_all(action: str, files: "Mapping[int, str]") -> None:
    """Sync open files and directories to the disk. ``files`` has the path of each descriptor.

    On btrfs, a directory stands for itself and for the files in it whose content is already on the disk.

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
    """Sync files of one mount: with ``commit`` or syncfs, or with fsync if neither is safe.

    syncfs gets the descriptor of the first file. The kernel then reports every write error since that file
    was opened.
    """
    first, path = next(iter(files.items()))
    try:
        if is_on_btrfs(first) and _are_flushed(files) and commit(first):
            return
        if can_sync_file_system(first):
            sync_file_system(first)
            return
        for fd, path in files.items():  # noqa: B007 - the error names the path
            again(os.fsync, fd)
    except OSError as error:
        raise write_error(action, path, error) from None


def _are_flushed(files: "Mapping[int, str]") -> bool:
    """Return whether the content of all files is on the disk, after fsync of the files without a name."""
    unnamed: list[int] = []
    for fd in files:
        status = again(os.fstat, fd)
        if not stat.S_ISDIR(status.st_mode):
            if status.st_nlink or len(unnamed) == MOST_FSYNCS:
                return False
            unnamed.append(fd)
    return all(map(flush_unnamed, unnamed))


def flush_unnamed(fd: int) -> bool:
    """Write the content of a file without a name to the disk, on btrfs or on an overlay over btrfs.

    Do nothing and return False on other file systems. Afterwards, ``sync_all`` for the directory that gets
    the name of the file also syncs the file.
    """
    if not _can_commit(fd):
        return False
    again(os.fsync, fd)
    return True


def commit(fd: int) -> bool:
    """Write all changes of a btrfs to the disk, except file content that the kernel still has in memory.

    Return False if that is not possible, for example on another type of file system.
    """
    if not _can_commit(fd):
        return False
    if is_file_system_of({BTRFS}, fd):
        return _commit(fd)
    upper = _open_upper_layer(fd)
    if upper < 0:
        return False
    try:
        return _commit(upper)
    finally:
        close(upper)


def _commit(fd: int) -> bool:
    from fcntl import ioctl

    transaction = bytearray(8)
    try:
        again(ioctl, fd, _START_SYNC, transaction)
        again(ioctl, fd, _WAIT_SYNC, transaction)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        return False
    return True


def _can_commit(fd: int) -> bool:
    return is_on_btrfs(fd) and is_file_system_of({BTRFS, OVERLAY}, fd)


def _open_upper_layer(fd: int) -> int:
    """Open the upper layer of the overlay of an open file. Return -1 if that fails."""
    path = _upper_layer(fd)
    try:
        if path.startswith("/proc/self/fd/"):  # a hook has mounted the overlay, and has the layer open
            upper = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        else:
            upper = open_folder(path, follow=False).fd
        # another process can have meant another directory by this path
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
            # the kernel writes a space, for example, as \040
            first, *rest = option[len(b"upperdir=") :].split(b"\\")
            path = first + b"".join(bytes((int(each[:3], 8),)) + each[3:] for each in rest)
            return path.decode("utf-8", "surrogateescape")
    return ""


def create_to_sync(directory: Directory, name: str, mode: int = 0o600) -> int:
    """Create a file for ``sync_and_name``. On btrfs, the file has no name until then.

    Raises FileExistsError if the name exists.
    """
    if is_on_btrfs(directory.fd) and has_unnamed():
        try:
            return directory.create_unnamed(mode)
        except OSError as error:
            if error.errno not in NO_UNNAMED:
                raise
    return directory.create(name, mode)


def sync_and_name(action: str, path: str, fd: int, directory: Directory, name: str) -> None:
    """Sync a file from ``create_to_sync``. On btrfs, sync its content, give it its name, and commit.

    Raises WriteError with ``action`` and ``path`` if syncing fails, and OSError if the name exists.
    """
    if not os.fstat(fd).st_nlink:
        try:
            is_flushed = flush_unnamed(fd)
        except OSError as error:
            raise write_error(action, path, error) from None
        directory.name_unnamed(fd, name)
        if is_flushed:
            fd = directory.fd
    sync_all(action, {fd: path})


def sync_file_system(fd: int) -> None:
    """Write all changes of a file system to the disk. Raises OSError if that fails."""
    again(call_libc, "syncfs", fd)


def can_sync_file_system(fd: int) -> bool:
    """Return whether ``sync_file_system`` is as safe as fsync of each file."""
    return is_file_system_of(_TYPES, fd)
