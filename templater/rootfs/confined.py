"""Confined access to files below a directory. No path leads outside, even if a process moves directories.

Every command that accesses a root filesystem, an image directory or an instance directory uses a ``Root``::

    with confined.Root(path) as root:
        root.entry("/templates/hosts.tpl")      # lstat, as an Entry; None if the file is missing
        root.read("/metadata.yaml", 1 << 20)    # a regular file's bytes, or RefusedError, LimitError, …
        root.listdir("/templates")
        with root.directory("/etc") as etc:     # an open directory, to write in
            fd = etc.create("name", 0o600)
            etc.rename("name", etc, "hosts")

Paths are absolute and cleaned; ``/`` is the root. **Symlinks are never followed** unless a call has
``follow=True``. With ``follow=True``, symlinks are resolved as in a chroot, so they never lead outside.

Two equally strict mechanisms open paths. ``openat2`` (RESOLVE_BENEATH or IN_ROOT, with NO_SYMLINKS,
NO_MAGICLINKS, NO_XDEV) is the default if the kernel has it. ``walk`` opens one component at a time with
O_NOFOLLOW, relative to an open descriptor; ``TEMPLATER_CONFINED=walk`` or ``Root(mechanism="walk")`` selects
it. Systems without directory descriptors (Windows) use the read-only ``without_descriptors.py``;
``directory_rootfs.open_root`` chooses.

The type and identity of a file are checked after it was opened. Opening never blocks on a fifo and never
acquires a terminal. Mount points below the root are not crossed unless ``cross_mounts`` is set.
"""

import errno
import sys

from ..model.entry import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FIFO, FILE, SOCKET, SYMLINK, Entry
from ..model.errors import BusyError, InputError, LimitError, RefusedError, TemplaterError, WriteError, reason
from ..oslite import Closing, fsencode, isdir, join, libc, os, stat, variable
from .held_files import close, close_duplicate, hold, remove_directory
from .paths import MissingError, components, no_directory, not_regular
from .shared_directories import is_shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    Opener = Callable[[int, str, int, bool, bool], int]
    Arguments = ParamSpec("Arguments")
    Result = TypeVar("Result")

OPENAT2 = "openat2"
WALK = "walk"

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

#: the number of the system call openat2 on every architecture except alpha
_SYS_OPENAT2 = 437

#: how many times an operation is tried while another process keeps changing the file
_ATTEMPTS = 64
_MAX_LINKS = 40

_O_PATH = getattr(os, "O_PATH", os.O_RDONLY)
_O_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
_O_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_O_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_O_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_O_NOCTTY = getattr(os, "O_NOCTTY", 0)

#: the maximum size in bytes of a journal or a record that belongs to the owner of an instance's directory
MAX_OF_OWNER = 1 << 20

#: open flags: to stat a file, to walk through a directory, to keep and list a directory, to read a file
_LOOK = (_O_PATH or _O_NONBLOCK | _O_NOCTTY) | _O_CLOEXEC
_PASS = _O_PATH | _O_DIRECTORY | _O_NOFOLLOW | _O_CLOEXEC
_HOLD = os.O_RDONLY | _O_DIRECTORY | _O_NOFOLLOW | _O_CLOEXEC | _O_NONBLOCK
_READ = os.O_RDONLY | _O_NOFOLLOW | _O_CLOEXEC | _O_NONBLOCK | _O_NOCTTY

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
    " that it runs in the container's namespaces",
}

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Root(Closing):
    """An open directory. Every path is resolved below it.

    Links in ``path`` itself are followed, because the caller is trusted. To open a directory whose name comes
    from an image or an instance, use ``below``. ``fd`` is an open descriptor to use instead of opening
    ``path``. With ``named``, messages show ``path`` in front of paths below it. Without ``named``, messages
    show paths as the container sees them.
    """

    __slots__ = ("cross_mounts", "fd", "mechanism", "name", "named", "_open")  # noqa: RUF023

    def __init__(
        self,
        path: str,
        *,
        mechanism: str = "",
        cross_mounts: bool = False,
        fd: "int | None" = None,
        named: bool = False,
    ) -> None:
        self.name = path
        self.named = named
        self.fd = open_directory(path) if fd is None else fd
        self.cross_mounts = cross_mounts
        wanted = mechanism or variable("TEMPLATER_CONFINED")
        try:
            self.mechanism, self._open = _choose(wanted, self.fd)
        except InputError:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"Root({self.name!r}, mechanism={self.mechanism!r})"

    def close(self) -> None:
        if self.fd >= 0:
            close(self.fd)
            self.fd = -1

    def shown(self, path: str) -> str:
        """Return a path below the root in the form in which messages show it."""
        return self.name.rstrip("/") + path if self.named else path

    # reading

    def entry(self, path: str, *, follow: bool = False) -> "Entry | None":
        """Return the lstat result, with the ids on disk. Return None if the path does not exist.

        ``follow`` affects only the parents: if the last component is a link, the link itself is described.
        """
        found = self.lstat(path, follow=follow)
        return None if found is None else found[0]

    def lstat(self, path: str, *, follow: bool = False) -> "tuple[Entry, os.stat_result] | None":
        """Return the ``Entry`` and the full stat result of a path. Return None if the path does not exist."""
        names = components(path)
        if not names:
            status = os.fstat(self.fd)
            return entry_of(status, "", is_mount=False), status
        try:
            parent = self._descriptor(names[:-1], _PASS, follow) if names[:-1] else self.fd
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise self._trouble(path, error, follow=follow) from None
        try:
            return self._lstat_at(parent, names[-1])
        except OSError as error:
            raise self._trouble(path, error, follow=follow) from None
        finally:
            if parent != self.fd:
                close(parent)

    def read(
        self,
        path: str,
        limit: int,
        *,
        follow: bool = False,
        public: bool = False,
        check: "Callable[[int], None] | None" = None,
        before_piece: "Callable[[], None] | None" = None,
    ) -> bytes:
        """Read a regular file with ``read_regular``. Raises LimitError for more than ``limit`` bytes.

        Raises MissingError for a missing file, RefusedError for anything that is not a regular file, and
        BusyError if another process holds a lease of the file. With ``public``, ``require_public`` checks the
        file and its directory. ``before_piece`` is called before each piece of the file is read, and can
        raise an error.
        """
        if public:
            return self._read_public(path, limit)
        names = components(path)
        try:
            return read_regular(
                lambda flags: self._descriptor(names, flags, follow),
                limit,
                self.shown(path),
                check,
                before_piece,
            )
        except OSError as error:
            raise self._trouble(path, error, follow=follow) from None

    def _read_public(self, path: str, limit: int) -> bytes:
        *above, name = components(path)
        with self.directory("/" + "/".join(above)) as directory:
            require_public(directory.fd, self.fd, directory.path)

            def check(fd: int) -> None:
                for owned in (directory.fd, self.fd):
                    require_public(fd, owned, self.shown(path))

            try:
                return directory.read(name, limit, check)
            except OSError as error:
                raise self._trouble(path, error) from None

    def open(self, path: str, *, follow: bool = False, or_directory: bool = False) -> int:
        """Open a regular file of any size for reading, and return its descriptor.

        With ``or_directory``, also open a directory. Close the descriptor with ``held_files.close``. Raises
        the same errors as ``read``.
        """
        names = components(path)
        try:
            return _open_regular(
                lambda flags: self._descriptor(names, flags, follow), _READ, self.shown(path),
                or_directory=or_directory,
            )  # fmt: skip
        except OSError as error:
            raise self._trouble(path, error, follow=follow) from None

    def has_content(
        self, path: str, content: bytes, before_piece: "Callable[[], None] | None" = None
    ) -> bool:
        """Return whether a regular file has this content, see ``descriptor_has_content``.

        Raises the same errors as ``read``, but no LimitError for a large file.
        """
        names = components(path)
        try:
            return regular_has_content(
                lambda flags: self._descriptor(names, flags, follow=False),
                content,
                self.shown(path),
                before_piece,
            )
        except OSError as error:
            raise self._trouble(path, error) from None

    def listdir(self, path: str, *, follow: bool = False, most: "int | None" = None) -> "list[str]":
        """Return the sorted names in a directory. Raises LimitError for more than ``most`` names."""
        with self.directory(path, follow=follow) as directory:
            if most is None:
                return directory.listdir()
            names, left = directory.names_with("", most + 1)
            if not left:
                raise too_many_names(path, most)
            return names

    def entries(self, path: str) -> "list[tuple[str, Entry]]":
        """Return the names in a directory with their lstat results. The directory is opened only once."""
        with self.directory(path) as directory:
            try:
                found = [(name, self._lstat_at(directory.fd, name)) for name in directory.listdir()]
            except OSError as error:
                raise self._trouble(path, error) from None
        return [(name, status[0]) for name, status in found if status is not None]

    # opening directories

    def directory(self, path: str, *, follow: bool = False) -> "Directory":
        """Open a directory. Raises MissingError, or RefusedError if it is not a directory."""
        try:
            fd = self._descriptor(components(path), _HOLD, follow)
        except OSError as error:
            raise self._trouble(path, error, follow=follow) from None
        return Directory(self, fd, self.shown(path))

    def below(self, path: str, *, cross_mounts: bool = False) -> "Root":
        """Open a directory below this directory as a ``Root``. Mount points are allowed, symlinks are not."""
        try:
            fd = again(self._open, self.fd, "/".join(components(path)) or ".", _HOLD, False, True)
        except OSError as error:
            raise self._trouble(path, error) from None
        name = join(self.name, path[1:])
        return Root(name, mechanism=self.mechanism, cross_mounts=cross_mounts, fd=fd, named=self.named)

    # internal

    def _descriptor(self, names: "list[str]", flags: int, follow: bool) -> int:
        flags = flags & ~_O_NOFOLLOW if follow else flags
        return again(self._open, self.fd, "/".join(names) or ".", flags, follow, self.cross_mounts)

    def _lstat_at(self, parent: int, name: str) -> "tuple[Entry, os.stat_result] | None":
        for _ in range(_ATTEMPTS):
            try:
                status, is_mount = self._status_at(parent, name)
                target = os.readlink(name, dir_fd=parent) if stat.S_ISLNK(status.st_mode) else ""
                return entry_of(status, target, is_mount=is_mount), status
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return None
                if error.errno != errno.EINVAL:  # EINVAL: another process has replaced the link
                    raise
        raise RefusedError(f"{name!r} keeps changing while templater reads it")

    def _status_at(self, parent: int, name: str) -> "tuple[os.stat_result, bool]":
        """Return the status of a name in a directory, and whether the name is a mount point."""
        if self.mechanism != OPENAT2:
            status = again(lstat_at, parent, name)
            return status, _is_mount_by_id(parent, name, status)
        try:
            fd = again(_openat2, parent, name, _O_PATH | _O_NOFOLLOW | _O_CLOEXEC, RESOLVE_NO_XDEV)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return again(lstat_at, parent, name), True
        status = os.fstat(fd)
        close(fd, status)
        return status, False

    def _trouble(self, path: str, error: OSError, *, follow: bool = False) -> TemplaterError:
        """Return the error for a path that can't be opened. The message names the component that failed."""
        number = error.errno or 0
        shown = self.shown(path)
        if follow and number == errno.ELOOP:
            return RefusedError(f"{shown!r} leads through a symlink loop or a magic link")
        if number in (errno.ELOOP, errno.ENOTDIR, errno.EXDEV):
            return self._obstacle(path, number)
        if number == errno.EAGAIN:
            return RefusedError(f"{shown!r} keeps changing while templater reads it")
        if number == errno.ENOENT:
            return MissingError(f"{shown!r} does not exist")
        if number in (errno.ENXIO, errno.ENODEV):
            return RefusedError(f"{shown!r} is a socket, or a device without a driver")
        return read_error(shown, error)

    def _obstacle(self, path: str, number: int) -> RefusedError:
        walked = ""
        for name in components(path):
            walked += "/" + name
            try:
                found = Root(self.name, mechanism=self.mechanism, cross_mounts=True, fd=self.fd).lstat(walked)
            except (OSError, TemplaterError):  # report the original error instead of this error
                break
            if found is None:
                break
            kind = found[0].kind
            if number == errno.EXDEV and found[0].is_mount:
                return RefusedError(
                    f"{self.shown(path)!r}: {self.shown(walked)!r} is a mount point",
                    hint="templater enters a mount point only if crossing mounts is allowed",
                )
            if kind != DIRECTORY and number != errno.EXDEV:
                return no_directory(self.shown(path), self.shown(walked), kind)
        return RefusedError(
            f"{self.shown(path)!r} changed while it was opened: {os.strerror(number).lower()}"
        )


class Directory(Closing):
    """An open directory below a root. Names passed to its methods are single components.

    The methods raise the kernel's OSError. Callers decide what the error means, and describe
    it with ``write_error``.
    """

    __slots__ = ("fd", "on_btrfs", "path", "root")

    def __init__(self, root: Root, fd: int, path: str) -> None:
        self.root = root
        self.fd = fd
        self.path = path
        #: whether the directory is on btrfs, once ``held_files.hold`` knows it
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
        """Return the names that begin with a prefix. Read at most ``most`` names of the directory.

        The second result is ``most`` minus the number of names that were read, with or without the prefix.
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
        found = self.root._lstat_at(self.fd, name)
        return None if found is None else found[0]

    def is_mount(self, name: str) -> bool:
        return self.root._status_at(self.fd, name)[1]

    def read(self, name: str, limit: int, check: "Callable[[int], None] | None" = None) -> bytes:
        """Read a regular file with ``read_regular``.

        Raises RefusedError for anything else, including a symlink.
        """
        return read_regular(lambda flags: self._opened(name, flags), limit, self.path_of(name), check)

    def has_content(
        self, name: str, content: bytes, before_piece: "Callable[[], None] | None" = None
    ) -> bool:
        """Return whether a regular file has this content, see ``descriptor_has_content``.

        Raises RefusedError for anything else, including a symlink.
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

        If ``of_owner`` is not 0, the file can also belong to the owner of this directory. The limit for such
        a file is ``of_owner`` bytes, because the kernel may have to decompress many times the size of another
        user's file. ``check`` receives the status of the file, and can raise an error.

        Raises ForeignFileError for a file of another user, and LimitError for a file that is too large.
        """
        status = self.lstat(name)
        if status is None:
            return None
        owners = {0, os.geteuid()}
        if of_owner and status.st_uid not in owners:
            owners.add(os.fstat(self.fd).st_uid)
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
        """Open a regular file of any size. Raises RefusedError for anything else, including a symlink.

        Close the descriptor with ``held_files.close``.
        """
        flags = _READ | os.O_RDWR if write else _READ
        return _open_regular(lambda flags: self._opened(name, flags), flags, self.path_of(name))

    def look(self, name: str) -> int:
        """Open a file or directory of any type, only to inspect it."""
        return self._opened(name, _LOOK | _O_NOFOLLOW)

    def _opened(self, name: str, flags: int) -> int:
        return again(self.root._open, self.fd, name, flags, False, self.root.cross_mounts)

    def directory(self, name: str) -> "Directory":
        """Open a subdirectory."""
        fd = again(self.root._open, self.fd, name, _HOLD, False, self.root.cross_mounts)
        return Directory(self.root, fd, self.path_of(name))

    def create(self, name: str, mode: int = 0o600) -> int:
        """Create a file and open it for reading and writing. Raises FileExistsError if the name exists."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _O_NOFOLLOW | _O_CLOEXEC | _O_NOCTTY
        return os.open(name, flags, mode, dir_fd=self.fd)

    def unlink_left(self, name: str) -> None:
        """Remove a file that a killed process has left, if it exists."""
        if self.lstat(name) is not None:
            self.unlink(name)

    def create_unnamed(self, mode: int = 0o600) -> int:
        """Create a file without a name, which exists until its descriptor is closed.

        Raises OSError if the file system does not support such files.
        """
        return os.open(".", os.O_RDWR | os.O_TMPFILE | _O_CLOEXEC, mode, dir_fd=self.fd)

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
        """Prepare for the removal or the replacement of a name, see ``held_files``."""
        hold(self.fd, name, self.on_btrfs)

    def rename_held(self, name: str, to: "Directory", new: str) -> None:
        """Rename a file. The caller must first call ``hold`` for the name that the file replaces."""
        again(os.rename, name, new, src_dir_fd=self.fd, dst_dir_fd=to.fd)

    def unlink(self, name: str) -> None:
        hold(self.fd, name, self.on_btrfs)
        again(os.unlink, name, dir_fd=self.fd)

    def rmdir(self, name: str) -> None:
        hold(self.fd, name, self.on_btrfs)  # an empty directory can have gigabytes of extended attributes
        again(os.rmdir, name, dir_fd=self.fd)

    def rmdir_at_end(self, name: str) -> None:
        """Remove a directory that other processes could enter, see ``held_files.remove_directory``."""
        remove_directory(self.fd, name)

    def is_same(self, name: str, fd: int) -> bool:
        """Return whether a name still refers to an open file or directory.

        Return False if another file or directory has taken the name.
        """
        named, opened = self.lstat(name), again(os.fstat, fd)
        return named is not None and (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)

    def unlink_if_same(self, name: str, fd: int) -> None:
        """Remove the name of an open file that this process created.

        Do nothing if another process has removed the name, or has given the name to another file. Another
        file can have so many blocks or extended attributes that its removal takes minutes.
        """
        if self.is_same(name, fd):
            self.unlink(name)


class ForeignFileError(Exception):
    """The error for a file of another user. ``status`` is the status of the file."""

    def __init__(self, status: "os.stat_result") -> None:
        self.status = status


def require_public(fd: int, directory: int, shown: str) -> None:
    """Raise RefusedError if a user could have moved a file to this place, but has no permission to read it.

    Without this check, a user could move a secret file of root into a directory and make root read the file.
    The check considers the owner of the directory. For a private file of root, it also considers other users
    who can write to the directory. ``fd`` can also be the descriptor of a directory.
    """
    status = os.fstat(fd)
    needed = 0o005 if stat.S_ISDIR(status.st_mode) else 0o004
    if status.st_mode & needed == needed:
        return
    above = os.fstat(directory)
    owner = above.st_uid
    if owner not in (0, os.geteuid(), status.st_uid):
        raise RefusedError(
            f"{shown!r} is private to uid {status.st_uid}, but its directory belongs to uid {owner}",
            hint="let all users read the file, or chown the file to the owner of the directory",
        )
    if os.geteuid() == status.st_uid == 0 and is_shared(directory, above):
        raise RefusedError(
            f"{shown!r} is private to root, but other users can write to its directory",
            hint="let all users read the file, or let only root write to the directory",
        )


def bytes_of(status: "os.stat_result") -> int:
    """Return the size of a file or the total size of its blocks, whichever is larger.

    The time to copy or remove a file depends on this size.
    """
    return max(status.st_size, status.st_blocks * 512)


def kind_of(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "file of unknown type")


def read_error(path: str, error: OSError) -> InputError:
    """Return an InputError with the path, the reason and a hint."""
    return InputError(f"{path!r} can't be read: {reason(error)}", hint=_HINTS.get(error.errno or 0, ""))


def write_error(action: str, path: str, error: OSError) -> WriteError:
    """Return a WriteError with the action, the path, the reason and a hint."""
    return WriteError(f"can't {action} {path!r}: {reason(error)}", hint=_HINTS.get(error.errno or 0, ""))


def read_descriptor(
    fd: int, limit: int, path: str, before_piece: "Callable[[], None] | None" = None
) -> bytes:
    """Read a descriptor to its end. Raises LimitError above ``limit`` bytes.

    ``before_piece`` is called before each piece of at most 1 MiB is read, and can raise an error.
    """
    chunks: list[bytes] = []
    left = limit + 1
    piece = 1 << 16  # start with a small buffer, because most files are small
    while left > 0:
        if before_piece is not None:
            before_piece()
        chunk = os.read(fd, min(left, piece))
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        left -= len(chunk)
        if len(chunk) == piece:
            piece = 1 << 20
    raise _too_large(path, limit)


def descriptor_has_content(fd: int, content: bytes, before_piece: "Callable[[], None] | None" = None) -> bool:
    """Return whether a descriptor has exactly this content from its offset to its end.

    The function reads pieces of at most 1 MiB, and stops at the first piece that differs. ``before_piece`` is
    called before each piece, and can raise an error: the kernel may need minutes for a file whose data it has
    to decompress.
    """
    done = 0
    piece = 1 << 16  # most files are small, and a large file usually differs soon
    while True:
        if before_piece is not None:
            before_piece()
        chunk = os.read(fd, piece)
        if not chunk:
            return done == len(content)
        if not content.startswith(chunk, done):
            return False
        done += len(chunk)
        piece = 1 << 20


def write_descriptor(fd: int, content: "bytes | memoryview") -> None:
    """Write all bytes, in as many calls as needed."""
    rest = memoryview(content)
    while rest:
        written = os.write(fd, rest)
        if not written:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rest = rest[written:]


def again(
    call: "Callable[Arguments, Result]", /, *args: "Arguments.args", **options: "Arguments.kwargs"
) -> "Result":
    """Make a system call. Repeat the call after EINTR and EAGAIN, a limited number of times."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return call(*args, **options)
        except OSError as error:
            if error.errno not in (errno.EINTR, errno.EAGAIN):
                raise
    return call(*args, **options)


def open_directory(path: str) -> int:
    """Open a directory and return its descriptor. Follow links, because the caller trusts ``path``."""
    try:
        return os.open(path, os.O_RDONLY | _O_DIRECTORY | _O_CLOEXEC | _O_NONBLOCK)
    except OSError as error:
        raise InputError(f"{path!r} can't be opened as a directory: {reason(error)}") from None
    except ValueError:
        raise InputError(f"{path!r} can't be the name of a directory") from None


def read_regular(
    opened: "Callable[[int], int]",
    limit: int,
    path: str,
    check: "Callable[[int], None] | None" = None,
    before_piece: "Callable[[], None] | None" = None,
) -> bytes:
    """Read a regular file. ``opened(flags)`` opens the file by its name.

    Before the content is read, ``check`` can raise an error about the open file. Raises LimitError if more
    than ``limit`` bytes can be read.

    Another program can notice that this process opens a file, and then remove the file's name. If the file is
    huge, the last close then takes minutes. So this function does not open a file above the limit. It reads
    only the file's status, which no program can notice. A smaller file can have a million extended
    attributes, so this function closes every file with ``held_files.close``.
    """
    fd = _open_regular(opened, _READ, path, limit)
    try:
        if check is not None:
            check(fd)
        return read_descriptor(fd, limit, path, before_piece)
    finally:
        close(fd)


def regular_has_content(
    opened: "Callable[[int], int]",
    content: bytes,
    path: str,
    before_piece: "Callable[[], None] | None" = None,
) -> bool:
    """Return whether a regular file has this content. ``opened(flags)`` opens the file by its name.

    A file with more bytes than ``content`` is not opened, see ``read_regular``.
    """
    try:
        fd = _open_regular(opened, _READ, path, len(content))
    except LimitError:
        return False
    try:
        return descriptor_has_content(fd, content, before_piece)
    finally:
        close(fd)


def _require_regular(fd: int, path: str, limit: "int | None", *, or_directory: bool = False) -> None:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) and not (or_directory and stat.S_ISDIR(status.st_mode)):
        raise not_regular(path, kind_of(status.st_mode))
    if limit is not None and status.st_size > limit:
        raise _too_large(path, limit)


def too_many_names(path: str, most: int) -> LimitError:
    return LimitError(f"{path!r} has more than {most} names")


def _too_large(path: str, limit: int) -> LimitError:
    return LimitError(f"{path!r} is larger than {limit} bytes")


def _open_regular(
    opened: "Callable[[int], int]",
    flags: int,
    path: str,
    limit: "int | None" = None,
    *,
    or_directory: bool = False,
) -> int:
    """Open a regular file, and return its descriptor. ``opened(flags)`` opens it by its name.

    Opening a device can have side effects, and so can opening a file above the limit (see ``read_regular``).
    So this function checks the type and size first. Then it opens the checked file, even if another process
    has replaced the name by a device.

    Raises BusyError if another process holds a lease (a kind of lock) on the file.
    """
    seen = opened(_LOOK | _O_NOFOLLOW)
    end: Callable[[int], None] = close
    try:
        _require_regular(seen, path, limit, or_directory=or_directory)
        try:
            fd = again(os.open, f"/proc/self/fd/{seen}", flags & ~_O_NOFOLLOW)
            end = close_duplicate
            return fd
        except FileNotFoundError:  # /proc is not mounted
            fd = opened(flags)
    except BlockingIOError:
        raise _leased(path) from None
    finally:
        end(seen)
    try:
        _require_regular(fd, path, limit, or_directory=or_directory)
    except BaseException:
        close(fd)
        raise
    return fd


def _leased(path: str) -> BusyError:
    return BusyError(
        f"{path!r} can't be opened: another process holds a lease of the file",
        hint="try again later, or end that process: lslocks shows it",
    )


def lstat_at(parent: int, name: str) -> os.stat_result:
    return os.stat(name, dir_fd=parent, follow_symlinks=False)


def entry_of(status: os.stat_result, target: str, *, is_mount: bool) -> Entry:
    """Return an Entry with values that do not depend on the file system.

    The sizes and link counts of directories, and the modes of links, are replaced by constants.
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


# --- with openat2: the kernel resolves the whole path


#: the structures open_how for openat2 as bytes, by flags and resolve
_hows: "dict[tuple[int, int], bytes]" = {}


def _openat2(parent: int, path: str, flags: int, resolve: int) -> int:
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
    return _openat2(root, path, flags, resolve)


_binding: "list[Callable[..., int]]" = []


def _syscall() -> "Callable[..., int]":
    return _binding[0] if _binding else _bind()


def _errno() -> int:
    return _binding[1]()


def _bind() -> "Callable[..., int]":
    """Return syscall(2). All of its results here are descriptors or -1, which fit into an int."""
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
            step = flags | _O_NOFOLLOW if index == len(names) - 1 else _PASS
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
    """Resolve all links as in a chroot; return the names of the resulting path.

    A stack holds the descriptors of the entered directories. The name ``..`` returns to the last of these
    descriptors. So the walk stays inside even if another process moves one of these directories. Magic links
    of /proc are resolved by their text like any other link.
    """
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
                held.append((name, again(os.open, name, _PASS, dir_fd=here)))
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
    """Return the mount id of an open file. If /proc is not mounted, return the id of the file's device.

    The id of a device is less exact: all bind mounts of the device have the same id.
    """
    try:
        info = os.open(f"/proc/self/fdinfo/{fd}", os.O_RDONLY | _O_CLOEXEC)
    except FileNotFoundError:
        return os.fstat(fd).st_dev
    try:
        text = os.read(info, 4096)
    finally:
        close(info)
    return int(text.partition(b"mnt_id:")[2].split(None, 1)[0])


def _is_mount_by_id(parent: int, name: str, status: os.stat_result) -> bool:
    """Return whether a name is a mount point.

    Mount ids are compared instead of devices: on overlays and btrfs, one mount has several devices.
    """
    if not hasattr(os, "O_PATH"):
        return os.fstat(parent).st_dev != status.st_dev
    fd = os.open(name, _O_PATH | _O_NOFOLLOW | _O_CLOEXEC, dir_fd=parent)
    try:
        return mount_id(fd) != mount_id(parent)
    finally:
        close(fd)


#: errors of a kernel or file system that does not support O_TMPFILE
NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS)


def has_unnamed() -> bool:
    """Return whether this system can create unnamed files that ``Directory.name_unnamed`` can name later."""
    return hasattr(os, "O_TMPFILE") and isdir("/proc/self/fd")


# choosing the mechanism


def _choose(wanted: str, root: int) -> "tuple[str, Opener]":
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
        close(_openat2(root, ".", _PASS, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS))
    except (ImportError, AttributeError, OSError):
        return False
    return True
