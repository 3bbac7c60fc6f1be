"""Interfaces and data types for images and root filesystems, which planning uses."""

#: default limit for the size of one template, in bytes
TEMPLATE_BYTES = 4 << 20

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
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

#: the kernel shows this id for ids outside of an id map
OVERFLOW_ID = 65534

#: the chattr(1) flags that prevent even root from writing; see ``RootfsView``
IMMUTABLE = "immutable"
APPEND_ONLY = "append-only"


class Entry:
    """The attributes of a file system object, as lstat(2) returns them.

    ``uid`` and ``gid`` are ids inside the container. ``mode`` has the twelve permission bits.
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


def _no_source() -> None:
    """Return None, like a weak reference to an object that no longer exists."""


class TemplateFile:
    """A file of an image's ``templates`` directory.

    For a missing file, ``entry`` is None. For a refused file, ``data`` is None, and ``error`` is the reason.
    """

    __slots__ = ("_source", "data", "entry", "error")

    def __init__(
        self,
        entry: "Entry | None" = None,
        data: "bytes | None" = None,
        error: "TemplaterError | None" = None,
    ) -> None:
        self.entry = entry
        self.data = data
        self.error = error
        #: a weak reference to the last source of this file
        self._source: Callable[[], Source | None] = _no_source

    def source(self, name: str) -> "Source":
        """Return the text of a readable file as a Source. ``name`` is the file's path for messages."""
        from _weakref import ref

        last = self._source()
        if last is not None and last.name == name:
            return last
        # Sharing the decoded text saves memory: the text can need four times as much memory as the data.
        made = self.make_source(name, (self.data or b"") if last is None else last.text)
        self._source = ref(made)
        return made

    def make_source(self, name: str, text: "str | bytes") -> "Source":
        from .source import Source

        return Source(name, text)


class Resolved:
    """The result of resolving a path.

    * ``real``: the path without symlinks. After an ``error``, the path can end at the name that caused it.
    * ``named``: the entry of the path itself. If the path ends at a symlink, this is the symlink's entry.
    * ``entry``: the entry of the file to which the path leads, or None if that file is missing
    * ``links``: the followed symlinks, as pairs of path and target
    * ``climbing``: the followed symlinks that lead above the root
    * ``mounts``: the mount points below the root that the path crosses
    * ``depth``: the number of existing directories on the way to ``real``, or None if all exist
    * ``missing``: the directories that do not exist, the outermost first
    """

    __slots__ = ("climbing", "depth", "entry", "error", "links", "mounts", "named", "path", "real")

    def __init__(self, path: str) -> None:
        self.path = path
        self.real = path
        self.named: Entry | None = None
        self.entry: Entry | None = None
        self.links: tuple[tuple[str, str], ...] = ()
        self.climbing: tuple[tuple[str, str], ...] = ()
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
    """Yield the parents of an absolute path, outermost first. Omit the first ``depth`` parents."""
    # A list of all parents of a very long path would need megabytes.
    end = path.find("/", 1)
    while end > 0:
        if depth <= 0:
            yield path[:end]
        depth -= 1
        end = path.find("/", end + 1)


def common_depth(path: str, other: str) -> int:
    """Return the number of parents that two absolute paths have in common."""
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

        Paths are absolute and cleaned. The caller has resolved all symlinks, except in the last component.
        Three attributes are optional:

        * ``ids`` maps ids of the container to ids on the disk, if the two kinds of ids differ.
        * ``flag(path)`` returns the chattr(1) flag of a file: IMMUTABLE, APPEND_ONLY or "".
        * ``has_content(path, content)`` compares a file without reading the whole file.
        """

        def entry(self, path: str) -> "Entry | None":
            """Return the entry of a path, or None if it does not exist or a parent is not a directory."""

        def read(self, path: str, limit: int) -> bytes:
            """Return the bytes of a regular file.

            Raises LimitError if the file has more than ``limit`` bytes.
            """

    class Image(Protocol):
        """An image that supplies metadata.yaml and templates."""

        name: str
        #: False if only the beginning of an archive was read, because it contained all templates
        complete: bool

        def read_metadata(self) -> "Source":
            """Return the text of metadata.yaml as a Source. Messages show the name of the Source."""

        def read_templates(self, names: "Iterable[str]") -> "Mapping[str, TemplateFile]":
            """Return the file for each of ``names``.

            An archive is read only up to the last of these files.
            """
