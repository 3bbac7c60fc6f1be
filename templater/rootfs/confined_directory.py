"""An open directory in a confined tree: listing, reading, creating, renaming and removing the names in it.

``confined_root.Root.directory`` opens such a directory.
"""

import errno

from ..oslite import Closing, isdir, os
from .close_in_another_process import close, hold, remove_directory
from .regular_files import open_regular, read_regular, regular_has_content
from .system_calls import HOLD, LOOK, O_CLOEXEC, O_NOCTTY, O_NOFOLLOW, READ, again, lstat_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from ..model.entry import Entry
    from .resolve_beneath import Opener

    class Confinement(Protocol):
        """The part of ``confined_root.Root`` that a ``Directory`` uses."""

        name: str
        cross_mounts: bool
        open_at: Opener

        def entry_at(self, parent: int, name: str) -> "tuple[Entry, os.stat_result] | None": ...

        def status_at(self, parent: int, name: str) -> "tuple[os.stat_result, bool]": ...


#: the maximum size in bytes of a journal or a record that belongs to the owner of an instance's directory
MAX_OF_OWNER = 1 << 20


class Directory(Closing):
    """An open directory below a root. Names passed to its methods are single components.

    The methods raise the kernel's OSError, which callers describe with ``write_error``.
    """

    __slots__ = ("fd", "on_btrfs", "path", "root")

    def __init__(self, root: "Confinement", fd: int, path: str) -> None:
        self.root = root
        self.fd = fd
        self.path = path
        #: whether the directory is on btrfs; empty until ``close_in_another_process.hold`` checks this
        self.on_btrfs: list[bool] = []

    def __repr__(self) -> str:
        return f"Directory({self.path!r})"

    def close(self) -> None:
        if self.fd >= 0:
            close(self.fd)
            self.fd = -1

    def path_of(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{name}"

    def listdir(self) -> "list[str]":
        return sorted(again(os.listdir, self.fd))

    def names_with(self, prefix: str, most: int) -> "tuple[list[str], int]":
        """Read at most ``most`` names of the directory, and return the names that begin with ``prefix``.

        The second result is ``most`` minus the number of names that were read.
        """

        def names() -> "tuple[list[str], int]":
            found, left = [], most
            with os.scandir(self.fd) as entries:
                for entry in entries:
                    if not left:
                        break
                    left -= 1
                    if entry.name.startswith(prefix):
                        found.append(entry.name)
            return sorted(found), left

        return again(names)

    def lstat(self, name: str) -> "os.stat_result | None":
        try:
            return again(lstat_at, self.fd, name)
        except FileNotFoundError:
            return None

    def entry(self, name: str) -> "Entry | None":
        found = self.root.entry_at(self.fd, name)
        return None if found is None else found[0]

    def is_mount(self, name: str) -> bool:
        return self.root.status_at(self.fd, name)[1]

    def read(self, name: str, limit: int, check: "Callable[[int], None] | None" = None) -> bytes:
        """Read a regular file with ``read_regular``.

        Raises RefusedError for every other file type, including symlinks.
        """
        return read_regular(lambda flags: self._opened(name, flags), limit, self.path_of(name), check)

    def has_content(
        self, name: str, content: bytes, before_piece: "Callable[[], None] | None" = None
    ) -> bool:
        """Return whether a regular file has this content (see ``descriptor_has_content``).

        Raises RefusedError if the file is not regular, for example a symlink.
        """
        return regular_has_content(
            lambda flags: self._opened(name, flags), content, self.path_of(name), before_piece
        )

    def read_own(
        self,
        name: str,
        limit: int,
        *,
        of_owner: int = 0,
        check: "Callable[[os.stat_result], None] | None" = None,
    ) -> "bytes | None":
        """Read a regular file of root or of this process's user, or return None if it is missing.

        * ``of_owner``: if not 0, also read a file of this directory's owner, up to ``of_owner`` bytes
        * ``check``: a function that receives the file's status, and can raise an error

        Raises ForeignFileError for a file of another user, and LimitError for a file that is too large.
        """
        status = self.lstat(name)
        if status is None:
            return None
        owners = {0, os.geteuid()}
        if of_owner and status.st_uid not in owners:
            owners.add(os.fstat(self.fd).st_uid)
            # This limit is low, because the kernel may have to decompress far more data than the file's size.
            limit = of_owner

        def check_owner(fd: int) -> None:
            status = os.fstat(fd)
            if status.st_uid not in owners:
                raise ForeignFileError(status)
            if check is not None:
                check(status)

        try:
            return self.read(name, limit, check_owner)
        except FileNotFoundError:
            return None

    def open(self, name: str, *, write: bool = False) -> int:
        """Open a regular file of any size. Raises RefusedError if the file is a symlink or not regular.

        Close the descriptor with ``close_in_another_process.close``.
        """
        flags = READ | os.O_RDWR if write else READ
        return open_regular(lambda flags: self._opened(name, flags), flags, self.path_of(name))

    def look(self, name: str) -> int:
        """Open a file or directory of any type, only to inspect it."""
        return self._opened(name, LOOK | O_NOFOLLOW)

    def _opened(self, name: str, flags: int) -> int:
        return again(self.root.open_at, self.fd, name, flags, False, self.root.cross_mounts)

    def directory(self, name: str) -> "Directory":
        """Open a subdirectory."""
        fd = again(self.root.open_at, self.fd, name, HOLD, False, self.root.cross_mounts)
        return Directory(self.root, fd, self.path_of(name))

    def create(self, name: str, mode: int = 0o600) -> int:
        """Create a file and open it for reading and writing. Raises FileExistsError if the name exists."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY
        return os.open(name, flags, mode, dir_fd=self.fd)

    def unlink_left(self, name: str) -> None:
        """Remove a file if it exists. A killed process can have left the file."""
        if self.lstat(name) is not None:
            self.unlink(name)

    def create_unnamed(self, mode: int = 0o600) -> int:
        """Create a file without a name, which exists until its descriptor is closed.

        Raises OSError if the file system does not support such files.
        """
        return os.open(".", os.O_RDWR | os.O_TMPFILE | O_CLOEXEC, mode, dir_fd=self.fd)

    def name_unnamed(self, fd: int, name: str) -> None:
        """Give a file from ``create_unnamed`` a name in this directory. Raises FileExistsError."""
        again(os.link, f"/proc/self/fd/{fd}", name, dst_dir_fd=self.fd, follow_symlinks=True)

    def mkdir(self, name: str, mode: int = 0o755) -> None:
        again(os.mkdir, name, mode, dir_fd=self.fd)

    def symlink(self, target: str, name: str) -> None:
        again(os.symlink, target, name, dir_fd=self.fd)

    def mknod(self, name: str, mode: int, device: int = 0) -> None:
        again(os.mknod, name, mode, device, dir_fd=self.fd)

    def link(self, name: str, to: "Directory", new: str) -> None:
        """Create a hard link to the file ``name``.

        The link has the name ``new`` in the directory ``to``. If ``name`` is a symlink, do not follow it.
        """
        again(os.link, name, new, src_dir_fd=self.fd, dst_dir_fd=to.fd, follow_symlinks=False)

    def rename(self, name: str, to: "Directory", new: str) -> None:
        to.hold(new)
        self.rename_held(name, to, new)

    def hold(self, name: str) -> None:
        """Prepare for the removal or the replacement of a name, see ``close_in_another_process``."""
        hold(self.fd, name, self.on_btrfs)

    def rename_held(self, name: str, to: "Directory", new: str) -> None:
        """Rename a file to ``new``. The caller must first call ``hold`` for ``new``."""
        again(os.rename, name, new, src_dir_fd=self.fd, dst_dir_fd=to.fd)

    def unlink(self, name: str) -> None:
        hold(self.fd, name, self.on_btrfs)
        again(os.unlink, name, dir_fd=self.fd)

    def rmdir(self, name: str) -> None:
        hold(self.fd, name, self.on_btrfs)  # an empty directory can have gigabytes of extended attributes
        again(os.rmdir, name, dir_fd=self.fd)

    def rmdir_at_end(self, name: str) -> None:
        """Call ``remove_directory`` for an empty directory that other processes could enter."""
        remove_directory(self.fd, name)

    def is_same(self, name: str, fd: int) -> bool:
        """Return whether a name still refers to an open file or directory.

        Return False if another file or directory has taken the name.
        """
        named, opened = self.lstat(name), again(os.fstat, fd)
        return named is not None and (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)

    def unlink_if_same(self, name: str, fd: int) -> None:
        """Remove the name of an open file that this process created.

        Do nothing if the name is gone or belongs to another file.
        """
        # Removing another file could take minutes, because it can have many blocks or extended attributes.
        if self.is_same(name, fd):
            self.unlink(name)


class ForeignFileError(Exception):
    """The error for a file of another user. ``status`` is the status of the file."""

    def __init__(self, status: "os.stat_result") -> None:
        self.status = status


#: errors of a kernel or file system that does not support O_TMPFILE
NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS)


def has_unnamed() -> bool:
    """Return whether this system can create unnamed files that ``Directory.name_unnamed`` can name later."""
    return hasattr(os, "O_TMPFILE") and isdir("/proc/self/fd")
