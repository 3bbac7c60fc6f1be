"""The interface through which `verify` and `list` read a stream, on disk or at a URL.

`open_stream` opens a stream by its path or URL. `LocalStream` is the implementation for a tree on disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Protocol

from ..image.open_file import holes_of
from ..model.errors import InputError
from .tree import Tree
from .tree_catalog import clean_path

_PIECE = 1 << 20


class Stream(Protocol):
    """A tree on disk or at a URL. For a missing file, the methods raise FileNotFoundError."""

    def imitate_clients(self) -> None:
        """From now on, accept only answers that the clients of Incus and LXD accept."""

    def file(self, path: str, /) -> IO[bytes]:
        """Open a file of the catalog."""

    def size(self, path: str, /) -> int | None:
        """Return the size of a file, or None if the size is unknown until the whole file is read."""

    def pieces(self, path: str, /) -> AbstractContextManager[Iterator[bytes]]:
        """Open a file, and yield an iterator over its content."""


class LocalStream:
    """A tree on disk, read as a stream."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._root = os.path.realpath(tree.path)

    def imitate_clients(self) -> None:
        """Do nothing, because a tree on disk has no server whose answers clients could reject."""

    def file(self, path: str, /) -> IO[bytes]:
        return self.tree.file(path)

    def size(self, path: str, /) -> int | None:
        return self.tree.size(path)

    @contextmanager
    def pieces(self, path: str, /) -> Iterator[LocalPieces]:
        with self.tree.open(path) as fd:
            linked = self.tree.locate(path) != os.path.join(self._root, clean_path(path))
            yield LocalPieces(fd, linked=linked)


class LocalPieces:
    """The content of an open file in pieces."""

    def __init__(self, fd: int, *, linked: bool) -> None:
        """Read the size and identity of the file. ``linked`` tells whether the file's path has a symlink."""
        found = os.fstat(fd)
        self._fd, self.size = fd, found.st_size
        #: The identity of a file with several paths: all hard links and symlinks to the file have this key.
        #: None if the file has a single hard link, and the path has no symlink.
        self.key: tuple[int, ...] | None = None
        if linked or found.st_nlink > 1:
            self.key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = os.read(self._fd, _PIECE)
        if not piece:
            raise StopIteration
        return piece

    def holes(self, most: int) -> int:
        """Return the number of bytes in the holes of the file. Stop counting above ``most`` bytes."""
        holes = holes_of(self._fd, self.size, most)
        os.lseek(self._fd, 0, os.SEEK_SET)
        return holes


def open_stream(place: str) -> Stream:
    """Open a tree on disk, or a stream behind an https URL.

    Raises InputError if the directory is missing, and UsageError for an invalid URL.
    """
    if "://" in place:
        from .https_client import UrlStream

        return UrlStream(place)
    if not os.path.isdir(place):
        raise InputError(f"'{place}' is not a directory", hint="give a tree or an https URL")
    return LocalStream(Tree(place))
