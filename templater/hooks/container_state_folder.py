"""The directories in which hooks keep the state of one container, and old contents of mounted files."""

from sys import byteorder

from ..model.errors import TemplaterError, WriteError, reason
from ..oslite import fsencode, isdir, libc, memory_with, os
from ..rootfs.trusted_paths import open_unshared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..rootfs.open_directory import Directory

#: the directory for old contents of mounted files; no machine can have a name with an underscore
OLD_CONTENTS = "/var/lib/templater/old_contents"

_AT_FDCWD, _STATX_BTIME = -100, 0x800
#: the inode number of the root directory of every btrfs subvolume
_BTRFS_ROOT = 256


def make_state_folder(path: str) -> str:
    """Create a directory for the state of one container, and return its path.

    Other users can't read the new parent directories. Otherwise, a user could open such a directory and hold
    the kernel's lock of it, and then no other container would get a state directory in it.

    Raises WriteError if the directory can't be created.
    """
    try:
        _make(path, 0o700)
    except OSError as error:
        raise WriteError(
            f"can't create '{path}': {reason(error)}",
            hint="to use another directory, add --state DIR to the hook line",
        ) from None
    return path


def _make(path: str, mode: int) -> None:
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not isdir(path):
            raise
    except FileNotFoundError:
        _make(path.rpartition("/")[0], 0o711)
        _make(path, mode)  # another hook may have made it meanwhile


def open_old_contents() -> "Directory | None":
    """Open the directory for the old contents of mounted files that a failed start can't restore.

    The directory of the container is not safe: ``podman run --rm`` removes it after a failed start. Return
    None if this process can't write to the directory, for example in a user namespace.
    """
    try:
        with open_unshared(make_state_folder(OLD_CONTENTS), (0,)) as root:
            return root.directory("/") if os.access(OLD_CONTENTS, os.W_OK) else None
    except (TemplaterError, OSError):
        return None


def directory_identity(path: str) -> str:
    """Return the inode number and the time of creation of a directory, or "" if it can't be read.

    The number of the device is left out, because it can change when the host boots. On btrfs, a snapshot has
    the inode number and the time of its original. So for a subvolume of btrfs, the result also contains the
    id of the file system, which differs between subvolumes.
    """
    try:
        found = os.stat(path)
        status = memory_with(bytes(256))
        if libc("statx")(_AT_FDCWD, fsencode(path) + b"\0", 0, _STATX_BTIME, status):
            return ""
    except OSError:  # the directory is missing, or the C library has no statx
        return ""
    data = bytes(status)
    has_time = int.from_bytes(data[:4], byteorder) & _STATX_BTIME
    seconds, fraction = (int.from_bytes(data[at : at + size], byteorder) for at, size in ((80, 8), (88, 4)))
    if not has_time:
        return ""
    is_subvolume = found.st_ino == _BTRFS_ROOT and os.major(found.st_dev) == 0
    subvolume = f" {os.statvfs(path).f_fsid:x}" if is_subvolume else ""
    return f"{found.st_ino} {seconds}.{fraction:09}{subvolume}"
