"""Functions that sync files to the disk: with fsync(2) for each file, or with syncfs(2) for many files.

Each fsync waits for the disk, so ten thousand small files would take a minute. On btrfs, the fsync of a
directory, or of a new file in the directory, also writes all extended attributes of the directory again.
These can be gigabytes if the root user of a container has set them. syncfs writes all changes of a file
system with one transaction. But syncfs also waits for the data of other processes: half a minute, if another
container writes without pause. So templater uses fsync unless there are too many files or attributes.
"""

import errno

from ..model.errors import TemplaterError
from ..oslite import call_libc, memory_with, os
from .confined import again, mount_id, write_error
from .file_system_type import OVERLAY, is_file_system_of
from .held_files import close, is_on_btrfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .confined import Directory

#: the maximum number of files that are synced one by one
MOST_FSYNCS = 256
#: the maximum length of all names of the attributes of a file on btrfs, for fsync: about 60 attributes
MOST_ATTRIBUTES = 1024

#: The types of file systems on which syncfs is as safe as fsync: ext4, xfs, btrfs, f2fs, bcachefs, ZFS,
#: overlayfs and tmpfs. For example, FUSE does not ask its server to sync.
_TYPES = frozenset((
    0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0xCA451A4E, 0x2FC12FC1, OVERLAY, 0x01021994,
))  # fmt: skip


def sync_all(
    action: str, files: "Mapping[int, str]", directories: "Iterable[int]" = (), *, with_syncfs: bool = False
) -> None:
    """Sync open files and directories to the disk. ``files`` has the path of each descriptor.

    ``directories`` are the descriptors of the directories that contain the files. This function does not sync
    them. But if one of them has many extended attributes, this function prefers syncfs to fsync. With
    ``with_syncfs``, it always does.

    Raises WriteError with ``action`` and a path.
    """
    if with_syncfs or len(files) > MOST_FSYNCS or _have_many_attributes((*files, *directories)):
        files = _sync_file_systems(action, files)
    for fd, path in files.items():
        try:
            again(os.fsync, fd)
        except OSError as error:
            raise write_error(action, path, error) from None


def sync_replacement(
    action: str, fd: int, directory: "Directory", name: str, *, with_syncfs: bool = False
) -> bool:
    """Sync a new file before it replaces the file ``name`` of a directory, if that exists. Raises WriteError.

    If the new file is synced by fsync on btrfs, its rename writes all extended attributes of the replaced
    file again. So these attributes decide about syncfs, too. If they are unknown, use syncfs.

    Return whether there are many attributes. Then give ``with_syncfs`` for the next file with this name: the
    kernel can still have the replaced file open.
    """
    replaced = _opened(directory, name) if is_on_btrfs(directory.fd) else []
    try:
        with_syncfs = with_syncfs or _have_many_attributes((fd, directory.fd, *replaced))
        sync_all(action, {fd: directory.path_of(name)}, with_syncfs=with_syncfs)
    finally:
        for other in replaced:
            close(other)
    return with_syncfs


def _opened(directory: "Directory", name: str) -> "list[int]":
    """Return the descriptor of a file, or no descriptor if it is missing, or -1 if it can't be opened."""
    try:
        return [directory.open(name)]
    except FileNotFoundError:
        return []
    except (OSError, TemplaterError):
        return [-1]


def sync_file_system(fd: int) -> None:
    """Write all changes of a file system to the disk. Raises OSError if that fails."""
    again(call_libc, "syncfs", fd)


def can_sync_file_system(fd: int) -> bool:
    """Return whether ``sync_file_system`` is as safe as fsync of each file."""
    return is_file_system_of(_TYPES, fd)


def _sync_file_systems(action: str, files: "Mapping[int, str]") -> "dict[int, str]":
    """Sync each file system once if ``can_sync_file_system`` allows it. Return the files that are not synced.

    For each file system, syncfs gets the descriptor of the first file. The kernel then reports every write
    error since that file was opened.
    """
    synced: dict[int, bool] = {}
    rest: dict[int, str] = {}
    for fd, path in files.items():
        try:
            mount = again(mount_id, fd)
            if mount not in synced:
                synced[mount] = can_sync_file_system(fd)
                if synced[mount]:
                    sync_file_system(fd)
        except OSError as error:
            raise write_error(action, path, error) from None
        if not synced[mount]:
            rest[fd] = path
    return rest


def _have_many_attributes(files: "Iterable[int]") -> bool:
    """Return whether a file on btrfs has too many attributes, or attributes that can't be listed.

    os.listxattr is not used: it reads up to 64 KiB of names, which btrfs may have to read from many blocks.
    """
    if not hasattr(os, "listxattr"):
        return False
    names = memory_with(bytes(MOST_ATTRIBUTES))
    for fd in files:
        try:
            if not is_on_btrfs(fd):
                continue
            again(call_libc, "flistxattr", fd, names, MOST_ATTRIBUTES)
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                return True
    return False
