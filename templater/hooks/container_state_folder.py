"""The directories in which hooks keep the state of one container, and old contents of mounted files."""

from ..model.errors import TemplaterError, WriteError, reason
from ..oslite import birth_time, isdir, os
from ..rootfs.trusted_paths import open_unshared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..rootfs.confined_directory import Directory

#: the directory for old contents of mounted files. After a failed start, ``podman run --rm`` removes the
#: container's own directory.
OLD_CONTENTS = "/var/lib/templater/old_contents"

#: the inode number of the root directory of every btrfs subvolume
_BTRFS_ROOT = 256


def make_state_folder(path: str) -> str:
    """Create a directory for the state of one container, and return its path.

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
        # A user who could open this directory could lock it. No other container could then get a state
        # directory.
        _make(path.rpartition("/")[0], 0o711)
        _make(path, mode)  # another hook may have made it meanwhile


def open_old_contents(*, make: bool) -> "Directory | None":
    """Open ``OLD_CONTENTS``, the directory for old contents that a failed start can't restore.

    With ``make``, create a missing directory. Return None if this process can't write to the directory.
    """
    try:
        if make:
            make_state_folder(OLD_CONTENTS)
        with open_unshared(OLD_CONTENTS, (0,)) as root:
            return root.directory("/") if os.access(OLD_CONTENTS, os.W_OK) else None
    except (TemplaterError, OSError):
        return None


def directory_identity(path: str) -> str:
    """Return the inode number and creation time of a directory, or "" if they can't be read.

    For a btrfs subvolume, also return its id.
    """
    try:
        found, time = os.stat(path), birth_time(path)
    except OSError:  # the directory is missing
        return ""
    if not time:
        return ""
    # The result omits the number of the device, which can change when the host boots.
    seconds, nanoseconds = divmod(int(time, 16), 10**9)
    # A btrfs snapshot has the same inode number and creation time as its original.
    is_subvolume = found.st_ino == _BTRFS_ROOT and os.major(found.st_dev) == 0
    subvolume = f" {os.statvfs(path).f_fsid:x}" if is_subvolume else ""
    return f"{found.st_ino} {seconds}.{nanoseconds:09}{subvolume}"
