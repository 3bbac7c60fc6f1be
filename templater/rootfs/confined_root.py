"""Confined access to files below a directory. No path leads outside, even if a process moves directories.

Every command that accesses a root filesystem, an image directory or an instance directory uses a ``Root``::

    with confined_root.Root(path) as root:
        root.entry("/templates/hosts.tpl")      # lstat, as an Entry; None if the file is missing
        root.read("/metadata.yaml", 1 << 20)    # a regular file's bytes, or RefusedError, LimitError, …
        root.listdir("/templates")
        with root.directory("/etc") as etc:     # an open directory, to write in: confined_directory.Directory
            fd = etc.create("name", 0o600)
            etc.rename("name", etc, "hosts")
            etc.unlink("old")

Paths are absolute and cleaned. Calls without ``follow=True`` never follow symlinks. With ``follow=True``,
symlinks are resolved as in a chroot.

Two equally strict mechanisms in ``resolve_beneath.py`` open paths:

* ``openat2`` is the default if the kernel has it.
* ``walk`` opens one component at a time. ``TEMPLATER_CONFINED=walk`` or ``Root(mechanism="walk")`` selects
  it.

Windows uses the read-only ``confined_without_descriptors.py`` instead.

Opening never blocks on a fifo and never acquires a terminal. Mount points below the root are not crossed by
default (see ``cross_mounts``).
"""

import errno

from ..model.entry import DIRECTORY, Entry
from ..model.errors import InputError, LimitError, RefusedError, TemplaterError, reason
from ..oslite import Closing, join, os, stat, variable
from .close_in_another_process import close
from .confined_directory import Directory
from .paths import MissingError, components, no_directory
from .regular_files import open_regular, read_regular, regular_has_content, require_public
from .resolve_beneath import OPENAT2, RESOLVE_NO_XDEV, choose_mechanism, is_mount_by_id, openat2
from .system_calls import (
    ATTEMPTS,
    HOLD,
    O_CLOEXEC,
    O_DIRECTORY,
    O_NOFOLLOW,
    O_NONBLOCK,
    O_PATH,
    PASS,
    READ,
    again,
    entry_of,
    lstat_at,
    read_error,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Root(Closing):
    """An open directory. Every path is resolved below it.

    * ``path``: a trusted path, whose links are followed. For names from an image or an instance, use
      ``below``.
    * ``fd``: the open directory. If it is given, ``path`` is not opened.
    * ``named``: whether messages put ``path`` before other paths
    """

    __slots__ = ("cross_mounts", "fd", "mechanism", "name", "named", "open_at")

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
        self.fd = open_trusted_directory(path) if fd is None else fd
        self.cross_mounts = cross_mounts
        wanted = mechanism or variable("TEMPLATER_CONFINED")
        try:
            self.mechanism, self.open_at = choose_mechanism(wanted, self.fd)
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

        ``follow`` affects only the parents of the path.
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
            parent = self._descriptor(names[:-1], PASS, follow) if names[:-1] else self.fd
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise self._trouble(path, error, follow=follow) from None
        try:
            return self.entry_at(parent, names[-1])
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
        """Read a regular file. With ``public``, ``require_public`` checks the file and its directory.

        Raises:
            LimitError: the file has more than ``limit`` bytes.
            MissingError: the file is missing.
            RefusedError: the file is not a regular file.
            BusyError: the file is leased.
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
        """Open a regular file of any size for reading. With ``or_directory``, also open a directory.

        Close the descriptor with ``close_in_another_process.close``. Raises the same errors as ``read``.
        """
        names = components(path)
        try:
            return open_regular(
                lambda flags: self._descriptor(names, flags, follow), READ, self.shown(path),
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
                found = [(name, self.entry_at(directory.fd, name)) for name in directory.listdir()]
            except OSError as error:
                raise self._trouble(path, error) from None
        return [(name, status[0]) for name, status in found if status is not None]

    # opening directories

    def directory(self, path: str, *, follow: bool = False) -> "Directory":
        """Open a directory. Raises MissingError, or RefusedError if it is not a directory."""
        try:
            fd = self._descriptor(components(path), HOLD, follow)
        except OSError as error:
            raise self._trouble(path, error, follow=follow) from None
        return Directory(self, fd, self.shown(path))

    def below(self, path: str, *, cross_mounts: bool = False) -> "Root":
        """Open a directory below this directory as a ``Root``. Mount points are allowed, symlinks are not."""
        try:
            fd = again(self.open_at, self.fd, "/".join(components(path)) or ".", HOLD, False, True)
        except OSError as error:
            raise self._trouble(path, error) from None
        name = join(self.name, path[1:])
        return Root(name, mechanism=self.mechanism, cross_mounts=cross_mounts, fd=fd, named=self.named)

    # shared with ``Directory``

    def entry_at(self, parent: int, name: str) -> "tuple[Entry, os.stat_result] | None":
        """Return the result of ``lstat`` for a name in an open directory."""
        for _ in range(ATTEMPTS):
            try:
                status, is_mount = self.status_at(parent, name)
                target = os.readlink(name, dir_fd=parent) if stat.S_ISLNK(status.st_mode) else ""
                return entry_of(status, target, is_mount=is_mount), status
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return None
                if error.errno != errno.EINVAL:  # EINVAL: another process has replaced the link
                    raise
        raise RefusedError(f"{name!r} keeps changing while templater reads it")

    def status_at(self, parent: int, name: str) -> "tuple[os.stat_result, bool]":
        """Return the status of a name in a directory, and whether the name is a mount point."""
        if self.mechanism != OPENAT2:
            status = again(lstat_at, parent, name)
            return status, is_mount_by_id(parent, name, status)
        try:
            fd = again(openat2, parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, RESOLVE_NO_XDEV)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return again(lstat_at, parent, name), True
        status = os.fstat(fd)
        close(fd, status)
        return status, False

    # internal

    def _descriptor(self, names: "list[str]", flags: int, follow: bool) -> int:
        flags = flags & ~O_NOFOLLOW if follow else flags
        return again(self.open_at, self.fd, "/".join(names) or ".", flags, follow, self.cross_mounts)

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


def open_trusted_directory(path: str) -> int:
    """Open a directory and return its descriptor. Follow links, because the caller trusts ``path``."""
    try:
        return os.open(path, os.O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK)
    except OSError as error:
        raise InputError(f"{path!r} can't be opened as a directory: {reason(error)}") from None
    except ValueError:
        raise InputError(f"{path!r} can't be the name of a directory") from None


def too_many_names(path: str, most: int) -> LimitError:
    return LimitError(f"{path!r} has more than {most} entries")
