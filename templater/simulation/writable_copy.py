"""A writable in-memory copy of a root filesystem.

All names are copied at once. Files are read on demand.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ..model.entry import DIRECTORY, FILE, Entry
from ..model.errors import LimitError
from ..model.unprintable_characters import printable
from ..planning.changed_rootfs import MAX_COMPARED
from ..rootfs.memory_rootfs import MemoryRootfs, _Node, node_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Rootfs(Protocol):
        """A root filesystem, on disk or in an image, that can be copied into memory."""

        @property
        def name(self) -> str: ...
        def walk(self) -> Iterator[tuple[str, Entry]]: ...
        def read(self, path: str, limit: int) -> bytes: ...


#: maximum number of names in memory; a desktop system has several hundred thousand
MOST_NAMES = 1_000_000
#: maximum depth of directories, the same as in images
DEEPEST = 500


class _Flagged(_Node):
    """A directory or file. Its chattr(1) flag, such as immutable, is read from disk on first use."""

    __slots__ = ("_flag", "read_flag")

    def __init__(self, entry: Entry, read_flag: Callable[[], str]) -> None:
        super().__init__(entry.kind, entry.mode, entry.uid, entry.gid)
        self._flag: str | None = None
        self.read_flag = read_flag
        self.nlink = entry.nlink
        self.is_mount = entry.is_mount

    @property
    def flag(self) -> str:
        if self._flag is None:
            self._flag = self.read_flag()
        return self._flag

    @flag.setter
    def flag(self, value: str) -> None:
        self._flag = value

    def copy(self, seen: dict[int, _Node]) -> _Node:
        twin = seen.get(id(self))
        if twin is None:
            twin = seen[id(self)] = _Flagged(self.entry(), self.read_flag)
            twin.children = {name: child.copy(seen) for name, child in self.children.items()}
        return twin


class _OnDisk(_Flagged):
    """A file whose content is read from disk on first use."""

    __slots__ = ("_content", "read", "size")

    def __init__(self, entry: Entry, read: Callable[[], bytes], read_flag: Callable[[], str]) -> None:
        self._content: bytes | None = b""
        super().__init__(entry, read_flag)
        self._content = None
        self.read = read
        self.size = entry.size

    @property
    def content(self) -> bytes:
        if self._content is None:
            self._content = self.read()
        return self._content

    @content.setter
    def content(self, data: bytes) -> None:
        self._content = data

    def entry(self) -> Entry:
        if self._content is not None:
            return super().entry()
        return Entry(FILE, self.mode, self.uid, self.gid, self.size, self.nlink, is_mount=self.is_mount)

    def copy(self, seen: dict[int, _Node]) -> _Node:
        twin = seen.get(id(self))
        if twin is None:
            twin = seen[id(self)] = copied = _OnDisk(self.entry(), self.read, self.read_flag)
            copied._content = self._content
        return twin


class WritableCopy(MemoryRootfs):
    """A writable copy of ``rootfs``, which must stay open while the copy is used."""

    def __init__(self, rootfs: Rootfs) -> None:
        super().__init__()
        flag_of = getattr(rootfs, "flag", lambda path: "")  # only files on disk have chattr flags
        self._root = _Flagged(self._root.entry(), partial(flag_of, "/"))
        folders: dict[str, _Node] = {"": self._root}
        for number, (path, entry) in enumerate(rootfs.walk()):
            if path.count("/") > DEEPEST:
                raise LimitError(
                    f"'{printable(path[:100])}…' in '{rootfs.name}' is more than {DEEPEST} directories deep"
                )
            if number >= MOST_NAMES:
                raise LimitError(
                    f"'{rootfs.name}' contains more than {MOST_NAMES} files and directories",
                    hint="omit --rootfs, or pass a directory with only the files that the templates write",
                )
            read_flag = partial(flag_of, path)
            above, _, name = path.rpartition("/")
            node: _Node
            if entry.kind == FILE:
                node = _OnDisk(entry, partial(rootfs.read, path, MAX_COMPARED), read_flag)
            elif entry.kind == DIRECTORY:
                node = folders[path] = _Flagged(entry, read_flag)
            else:
                node = node_of(entry)
            folders[above].children[name] = node  # a search from the root is slow in deep directories
