"""Interfaces for images and root filesystems, as planning uses them."""

#: default limit for the size of one template, in bytes
TEMPLATE_BYTES = 4 << 20

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Protocol

    from .errors import TemplaterError
    from .source import Source

FILE = "file"
DIRECTORY = "directory"
SYMLINK = "symlink"
FIFO = "fifo"
SOCKET = "socket"
CHAR_DEVICE = "char device"
BLOCK_DEVICE = "block device"

#: chattr(1) flags that stop even root from writing; see ``RootfsView``
IMMUTABLE = "immutable"
APPEND_ONLY = "append-only"


class Entry:
    """One name in a tree, as lstat(2) sees it.

    ``uid`` and ``gid`` are the container's. ``mode`` holds the twelve permission bits.
    """

    __slots__ = ("gid", "is_mount", "kind", "mode", "nlink", "rdev", "size", "target", "uid")

    def __init__(
        self,
        kind: str,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        size: int = 0,
        nlink: int = 1,
        target: str = "",
        is_mount: bool = False,
        rdev: int = 0,
    ) -> None:
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.nlink = nlink
        self.target = target
        self.is_mount = is_mount
        self.rdev = rdev

    def __repr__(self) -> str:
        return f"Entry({self.kind!r}, {self.mode:04o}, {self.uid}:{self.gid})"


class TemplateFile:
    """A file of an image's ``templates`` directory.

    ``entry`` is None if the directory has no such name. ``data`` is None if templater refuses to read
    the file; ``error`` then says why.
    """

    __slots__ = ("data", "entry", "error")

    def __init__(
        self,
        entry: "Entry | None" = None,
        data: "bytes | None" = None,
        error: "TemplaterError | None" = None,
    ) -> None:
        self.entry = entry
        self.data = data
        self.error = error


class Resolved:
    """The result of resolving a path.

    ``real`` is the path without symlinks. After an ``error``, it may end at the name that stopped the walk.
    ``named`` is the lstat result of the last name itself; ``entry`` is that of the file after following its
    links. If ``entry`` is None, the file does not exist. If ``named`` is a symlink as well, it dangles.
    ``links`` lists the symlinks followed, as pairs of path and target. ``mounts`` lists the mount points
    crossed below the root.

    ``depth`` counts the existing directories on the way to ``real``; None means that all exist.
    ``missing`` lists the other directories, outermost first.
    """

    __slots__ = ("depth", "entry", "error", "links", "mounts", "named", "path", "real")

    def __init__(self, path: str) -> None:
        self.path = path
        self.real = path
        self.named: Entry | None = None
        self.entry: Entry | None = None
        self.links: tuple[tuple[str, str], ...] = ()
        self.depth: int | None = None
        self.mounts: tuple[str, ...] = ()
        self.error: TemplaterError | None = None

    @property
    def missing(self) -> "tuple[str, ...]":
        return () if self.depth is None else tuple(parents_below(self.real, self.depth))

    @property
    def dangling(self) -> bool:
        return self.named is not None and self.named.kind == SYMLINK and self.entry is None


def parents_below(path: str, depth: int) -> "Iterator[str]":
    """Yield the parents of an absolute path that are deeper than ``depth`` names, outermost first.

    This is a generator because the parents of a path with two thousand names take megabytes.
    """
    end = path.find("/", 1)
    while end > 0:
        if depth <= 0:
            yield path[:end]
        depth -= 1
        end = path.find("/", end + 1)


def common_depth(path: str, other: str) -> int:
    """Return how many parents two absolute paths have in common."""
    low, high = 0, min(len(path), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if path[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return path[:low].count("/") - 1 if low else 0


if TYPE_CHECKING:

    class RootfsView(Protocol):
        """A read-only view of a root filesystem.

        Paths are absolute and cleaned. Only the last component may be a symlink: the caller resolves links
        name by name (``resolve.py``).

        Two attributes are optional. ``ids`` maps ids between the disk and the container, if they differ.
        ``flag(path)`` returns the chattr(1) flag of a file: IMMUTABLE, APPEND_ONLY or an empty string.
        """

        def entry(self, path: str) -> "Entry | None":
            """Return the lstat result; None if the name is missing or a parent is not a directory."""

        def read(self, path: str, limit: int) -> bytes:
            """Return the bytes of a regular file.

            Raises LimitError above ``limit`` bytes.
            """

    class Image(Protocol):
        """An image that supplies metadata.yaml and templates."""

        name: str
        #: False if the rest of an archive was not read, because the templates came first
        complete: bool

        def read_metadata(self) -> "Source":
            """Return the text of metadata.yaml. The name of the source helps the user find the file."""

        def read_templates(self, names: "Iterable[str]") -> "Mapping[str, TemplateFile]":
            """Return an entry for each of ``names``. Archives are read only as far as needed."""
