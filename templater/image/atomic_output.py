"""Output files that get their names only when they are complete."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..model.errors import InputError, RefusedError, UsageError, WriteError, reason
from ..model.unprintable_characters import printable
from ..rootfs.paths import MissingError
from ..rootfs.trusted_paths import open_folder
from ..rootfs.writable_by_others import is_shared

if TYPE_CHECKING:
    from types import TracebackType

    from ..rootfs.confined_root import Root

_PREFIX = ".templater-image-"
#: the directory in which Linux shows the open files of this process
_DESCRIPTORS = "/proc/self/fd/"
#: limits on a search for files of killed runs: the names in the directory, and the files that were found
_MOST_NAMES, _MOST_LEFT = 250_000, 1000
#: prefix of the temporary name of a split image's old file; a number and the old name follow
_ASIDE = _PREFIX + "old-"


class Output:
    """An output file. It has no name until it is complete.

    Without O_TMPFILE, an incomplete file has a hidden name, and the next run removes the file.
    """

    def __init__(self, directory: str, *, private: bool = False, shown: str = "") -> None:
        #: the directory's name in messages
        self._shown = shown or directory or "."
        # The directory is opened once, so the owner of a directory above can't redirect the output.
        self._root = _opened(directory or ".", self._shown)
        self.directory = (directory or ".") if self._root is None else f"{_DESCRIPTORS}{self._root.fd}"
        self._mode = 0o600 if private else 0o666
        #: the digest of the bytes written so far
        self.sha256 = hashlib.sha256()
        self.size = 0
        self._hidden = ""
        _sweep(self.directory)
        self.fd = self._open()

    def place(self, path: str) -> str:
        """Return the path of a file in the open directory."""
        return os.path.join(self.directory, os.path.basename(path))

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors that another program needs to open ``path``."""
        return (self.fd,) if self._root is None else (self.fd, self._root.fd)

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Ignore errors: a published file is already on the disk, and the next run removes a hidden file.
        if self._hidden:
            self.unname(self._hidden)
        with contextlib.suppress(OSError):
            os.close(self.fd)
        if self._root is not None:
            self._root.close()

    def write(self, data: bytes) -> None:
        self.sha256.update(data)
        self.size += len(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.fd, view) :]
        except OSError as error:
            raise self._failed(f"a file in '{self._shown}' can't be written", error) from error

    @property
    def path(self) -> str:
        """The path through which another program can open the file for writing."""
        return self._hidden or f"{_DESCRIPTORS}{self.fd}"

    def publish(self, path: str, *, replace: bool = False, like: os.stat_result | None = None) -> None:
        """Sync the file and name it ``path``. Raises UsageError if ``path`` exists and ``replace`` is false.

        The new file gets the mode and, if permitted, the owner of the old file, whose status is ``like``.
        Without ``like``, ``may_replace`` can raise RefusedError.
        """
        with self._naming(path):
            if like is not None:
                with contextlib.suppress(OSError):  # a user namespace may lack the owner's id
                    os.fchown(self.fd, like.st_uid, like.st_gid)
                os.fchmod(self.fd, stat.S_IMODE(like.st_mode))
            os.fsync(self.fd)
        self.name(path, replace=replace, like=like)

    def sync(self) -> None:
        """Flush the file to the disk."""
        try:
            os.fsync(self.fd)
        except OSError as error:
            raise self._failed(f"a file in '{self._shown}' can't be written", error) from error

    def name(self, path: str, *, replace: bool, like: os.stat_result | None = None) -> None:
        with self._naming(path):
            if replace and (like is not None or self.may_replace(path)):
                os.replace(self._named(), self.place(path))
                self._hidden = ""
            else:
                self._link(self.place(path))

    def may_replace(self, path: str) -> bool:
        """Return whether the output may replace a file at ``path``.

        In a directory such as ``/tmp``, root may replace only root's files. Raises RefusedError for other
        files.
        """
        if self._root is None or os.geteuid() != 0 or not is_shared(self._root.fd, os.fstat(self._root.fd)):
            return True
        try:
            owner = os.lstat(self.place(path)).st_uid
        except FileNotFoundError:  # another user can make a file here before the output gets its name
            return False
        # Any user can make a file with an expected name, and the kernel can need minutes to remove that file.
        if owner != 0:
            raise RefusedError(
                f"'{printable(path)}' belongs to another user (uid {owner}), and other users can write to"
                f" '{printable(self._shown)}'",
                hint="remove the file, or give another name",
            )
        return True

    def unname(self, path: str) -> None:
        """Remove the name ``path`` if it refers to this output file."""
        with contextlib.suppress(OSError):
            if os.path.samestat(os.lstat(self.place(path)), os.fstat(self.fd)):
                os.unlink(self.place(path))

    def move(self, path: str, aside: str) -> None:
        with self._naming(path):
            os.rename(self.place(path), self.place(aside))

    @contextlib.contextmanager
    def _naming(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileExistsError:
            raise UsageError(f"'{path}' exists", hint="add --reuse to replace the file") from None
        except OSError as error:
            problem = f"a file in '{self._shown}' can't be moved to its final name"
            raise self._failed(problem, error) from error

    def _open(self) -> int:
        try:
            if hasattr(os, "O_TMPFILE") and os.path.isdir(_DESCRIPTORS):
                fd = os.open(self.directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, self._mode)
                _lock(fd)
                return fd
        except OSError:
            pass  # overlays and network file systems lack O_TMPFILE: use a hidden name
        while True:
            hidden = self.hidden_name()
            try:
                fd = os.open(
                    hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), self._mode
                )
            except OSError as error:
                raise self._failed(f"a file in '{self._shown}' can't be created", error) from error
            _lock(fd)
            if os.fstat(fd).st_nlink:
                self._hidden = hidden
                return fd
            os.close(fd)  # another run removed the file before it was locked

    def hidden_name(self) -> str:
        """Return an unused hidden name in the same directory.

        If a run is killed, the next run removes the files with hidden names.
        """
        return os.path.join(self.directory, f"{_PREFIX}{os.urandom(8).hex()}")

    def _link(self, path: str) -> None:
        if self._hidden:
            os.link(self._hidden, path)
            return
        directory, name = os.path.split(path)
        parent = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # With a descriptor, os.link calls linkat, which can follow the link in /proc.
            os.link(f"{_DESCRIPTORS}{self.fd}", name, dst_dir_fd=parent, follow_symlinks=True)
        finally:
            with contextlib.suppress(OSError):
                os.close(parent)

    def _named(self) -> str:
        """Return the hidden name of the file. Create the name first, if the file is nameless."""
        if not self._hidden:
            hidden = self.hidden_name()
            self._link(hidden)
            self._hidden = hidden
        return self._hidden

    def _failed(self, problem: str, error: OSError) -> WriteError:
        hint = f"mkdir -p {shlex.quote(self._shown)}" if isinstance(error, FileNotFoundError) else ""
        return WriteError(f"{problem}: {reason(error)}", hint=hint)


def publish_all(outputs: Sequence[Output], paths: Sequence[str], *, replace: bool) -> None:
    """Give several files their final names. After an error, restore the files that existed before.

    The first file gets its name last. So if it has its name, all files are complete.
    """
    place = outputs[0].place
    for path in paths:
        if os.path.isdir(place(path)) and not os.path.islink(place(path)):
            raise UsageError(f"'{printable(path)}' is a directory", hint="give a file name")
    for output in outputs:
        output.sync()
    token = f"{_ASIDE}{os.urandom(4).hex()}"
    aside = [
        (path, f"{token}.{number}.{os.path.basename(path)}")
        for number, path in enumerate(paths)
        if replace and os.path.lexists(place(path))
    ]
    with contextlib.ExitStack() as locks:
        for path, _ in aside:
            outputs[0].may_replace(path)
        for path, _ in aside:
            locks.enter_context(_held(place(path)))
        _exchange(outputs, paths, aside)


def _exchange(outputs: Sequence[Output], paths: Sequence[str], aside: Sequence[tuple[str, str]]) -> None:
    try:
        for path, hidden in aside:
            outputs[0].move(path, hidden)
        for output, path in reversed(list(zip(outputs, paths, strict=True))):
            output.name(path, replace=False)
    except BaseException:
        for output, path in zip(outputs, paths, strict=True):
            output.unname(path)
        for path, hidden in reversed(aside):
            with contextlib.suppress(FileNotFoundError):
                os.rename(outputs[0].place(hidden), outputs[0].place(path))
        raise
    for _, hidden in aside:
        with contextlib.suppress(OSError):
            os.unlink(outputs[0].place(hidden))


def _opened(directory: str, shown: str) -> Root | None:
    """Open the directory of an output.

    Return None if the path ``directory`` names an open descriptor. Also return None if this system can't open
    files by descriptors.
    """
    if directory.startswith(_DESCRIPTORS) or not (hasattr(os, "O_PATH") and os.path.isdir(_DESCRIPTORS)):
        return None
    try:
        return open_folder(directory)
    except MissingError:
        hint = f"mkdir -p {shlex.quote(shown)}"
        raise WriteError(
            f"a file in '{shown}' can't be created: no such file or directory", hint=hint
        ) from None
    except InputError as error:
        raise WriteError(error.message) from None


def _lock(fd: int) -> bool:
    """Lock a file.

    Return False if another process has locked the file, or if the file system has no locks.
    """
    try:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


@contextlib.contextmanager
def _held(path: str) -> Iterator[None]:
    """Lock a file, so that no other run removes it. A run removes unlocked files of earlier crashed runs."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield  # another run can't open the file either, so no run removes the file
        return
    try:
        _lock(fd)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.close(fd)


def _sweep(directory: str) -> None:
    """Remove new files of killed runs, and restore the old files that these runs were replacing.

    Ignore files of other users.
    """
    left: list[str] = []
    try:
        with os.scandir(directory) as entries:
            for number, entry in enumerate(entries):
                if number == _MOST_NAMES or len(left) > _MOST_LEFT:
                    return
                # The removal of another user's file could take minutes.
                if entry.name.startswith(_PREFIX) and _is_own(entry.path):
                    left.append(entry.name)
    except OSError:
        return  # opening the output file will report the error
    # Handle the first file of an image last, because the code for other files tests whether its name exists.
    for name in sorted(left, reverse=True):
        path = os.path.join(directory, name)
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if not _lock(fd):
                    continue
                former = _former_name(name, left, directory)
                if not former:
                    os.unlink(path)
                    continue
                former = os.path.join(directory, former)
                if _is_own(former):
                    os.rename(path, former)
                else:
                    os.link(path, former)  # fails if another user has made a file with this name
                    os.unlink(path)
            finally:
                os.close(fd)


def _is_own(path: str) -> bool:
    """Return whether a path is a regular file of this process's user."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()


def _former_name(name: str, left: Sequence[str], directory: str) -> str:
    """Return the name under which to restore an old file, or "" if the old file is not needed any more."""
    if not name.startswith(_ASIDE):
        return ""
    *_, former = parts = name.split(".", 3)
    if len(parts) < 4:
        return ""
    # The first file of a new image is the last file that gets its name. If no file has this name, the new
    # image is incomplete, so the old files are needed.
    first = next((other for other in left if other.startswith(f".{parts[1]}.0.")), name)
    decides = first.split(".", 3)[3]
    return "" if os.path.lexists(os.path.join(directory, decides)) else former
