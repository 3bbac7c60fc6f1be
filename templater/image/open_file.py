"""Opening of image files: by path, or in advance for a sandbox that cannot open files."""

from __future__ import annotations

import os
import shlex
import weakref
from contextlib import contextmanager
from errno import ENXIO
from io import FileIO
from stat import S_IROTH, S_ISREG
from typing import TYPE_CHECKING

from ..model.counters_of_work import count_opened
from ..model.errors import InputError, RefusedError, UsageError, reason
from ..parsing.file_kind import HEAD, recognise
from ..rootfs.trusted_paths import open_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..sandbox.unpacker_process import Program

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

#: the holes of an image file may have this many bytes, or half of the file's size if that is more
_MOST_HOLES = 1 << 30
_PIECE = 1 << 20


class OpenFile(str):
    """An open regular file. As a string, an ``OpenFile`` is the path of the file.

    * ``fd``: the descriptor; one reader at a time uses it, from the start of the file
    * ``program``: the program that reads a squashfs file; it must be started before the sandbox is locked
    """

    fd: int
    program: Program | None = None

    def __new__(cls, path: str) -> OpenFile:
        self = super().__new__(cls, path)
        self.fd = open_regular(path)
        return self


def open_regular(path: str) -> int:
    """Return a descriptor of a regular file, at its beginning.

    The caller must not close the descriptor of an ``OpenFile``. Raises InputError if the file is not regular.
    As root, raises RefusedError for another user's link.
    """
    if isinstance(path, OpenFile):
        os.lseek(path.fd, 0, os.SEEK_SET)
        return path.fd
    try:
        fd = open_file(path, _FLAGS)
    except OSError as error:
        raise InputError(f"'{path}' can't be opened: {reason(error)}") from None
    status = os.fstat(fd)
    if not S_ISREG(status.st_mode):
        os.close(fd)
        raise InputError(f"'{path}' is neither a regular file nor a directory")
    count_opened(status)
    return fd


@contextmanager
def opened(path: str) -> Iterator[OpenFile]:
    """Open a regular file once for several readers, and close it at the end.

    If ``path`` is already an ``OpenFile``, yield it, and do not close it.
    """
    if isinstance(path, OpenFile):
        yield path
        return
    file = OpenFile(path)
    try:
        yield file
    finally:
        os.close(file.fd)


def close_with(owner: object, fd: int) -> None:
    """Close a descriptor when nothing refers to ``owner`` any more."""
    # When the interpreter ends, the descriptor stays open: in hooks and commands,
    # ``close_in_another_process`` closes all files at that time.
    weakref.finalize(owner, os.close, fd).atexit = False


def refuse_private(file: OpenFile) -> OpenFile:
    """Return the file. Raises RefusedError for a private file of root or of this user."""
    # An attacker who owns the image's directory could put a private file there. Root would then publish the
    # passwords in this file.
    status = os.fstat(file.fd)
    if not status.st_mode & S_IROTH and status.st_uid in (0, os.geteuid()):
        raise RefusedError(
            f"'{file}' is private: other users can't read the file, so it is not published",
            hint=f"it may contain passwords; if everyone may read it, run: chmod o+r {shlex.quote(file)}",
        )
    return file


@contextmanager
def reading(path: str) -> Iterator[FileIO]:
    """Open a regular file as an unbuffered Python file. Raises InputError if the file is not regular."""
    with FileIO(open_regular(path), closefd=not isinstance(path, OpenFile)) as file:
        yield file


def size_of(path: str) -> int:
    return os.fstat(path.fd).st_size if isinstance(path, OpenFile) else os.path.getsize(path)


def kind_of_file(path: str) -> str:
    """Return the kind of a file, detected from its first bytes."""
    with reading(path) as file:
        return recognise(file.read(HEAD))


def data_bytes(path: str) -> int:
    """Return the number of bytes that a file has outside its holes."""
    with reading(path) as file:
        return size_of(path) - holes_of(file.fileno(), size_of(path))


def refuse_holes(fd: int, path: str) -> None:
    """Raise InputError for a file with large holes, because holes take as long to read or write as data."""
    size = os.fstat(fd).st_size
    most = max(_MOST_HOLES, size // 2)
    if holes_of(fd, size, most) > most:
        raise InputError(f"'{path}' is sparse: most of its {size} bytes are in holes")


def whole_content(file: FileIO, path: str) -> Iterator[bytes]:
    """Yield the content of a file in pieces. Bytes that are appended meanwhile are ignored.

    Raises InputError for a file with large holes (see ``refuse_holes``).
    """
    size = os.fstat(file.fileno()).st_size
    refuse_holes(file.fileno(), path)
    file.seek(0)
    while size > 0 and (piece := file.read(min(size, _PIECE))):
        yield piece
        size -= len(piece)


def holes_of(fd: int, size: int, most: int | None = None) -> int:
    """Return the number of bytes in the holes of a file. Stop counting above ``most``."""
    # The field ``st_blocks`` does not show the size of the holes. Some file systems compress data, and some
    # update this field later.
    holes = offset = 0
    while offset < size and (most is None or holes <= most):
        try:
            data = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != ENXIO:
                break  # the file system knows no holes
            data = size  # the rest of the file is a hole
        holes += data - offset
        offset = os.lseek(fd, data, os.SEEK_HOLE) if data < size else size
    return holes


def is_same_file(path: str, other: str) -> bool:
    """Return whether two paths lead to the same file. Raises OSError if a path does not exist."""
    first, second = (
        os.fstat(name.fd) if isinstance(name, OpenFile) else os.stat(name) for name in (path, other)
    )
    return os.path.samestat(first, second)


def refuse_same_file(path: str, rootfs: str) -> None:
    """Raise UsageError if both parts of a split image are the same file."""
    try:
        same = is_same_file(path, rootfs)
    except OSError:
        return  # opening the file later raises the same error
    # If both parts were one file, the daemons would show a different fingerprint than templater.
    if same:
        raise UsageError(
            f"the image '{path}' and its root filesystem '{rootfs}' are the same file",
            hint="for a split image, give both files: the metadata tarball, then the root filesystem",
        )
