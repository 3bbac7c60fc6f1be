"""What planning needs to know of an image and of a root filesystem, and nothing more."""

#: bytes of one template, by default
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

#: the flags of chattr(1) that keep root from writing; see ``RootfsView``
IMMUTABLE = "immutable"
APPEND_ONLY = "append-only"


class Entry:
    """One name in a tree, as lstat sees it. Ids are the container's, mode is the twelve permission bits."""

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

    ``entry`` is None when there is none of that name. ``data`` is None whenever we refuse to read
    it, and ``error`` says why.
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
    """The place to which a path leads.

    ``real`` has no symlink in it; with an ``error``, it may end at the name that stopped the walk.
    ``named`` is lstat of the last name itself, ``entry`` of the place at the end of its links. If ``entry``
    is None, the place does not exist; if ``named`` is a symlink then, it dangles. ``links`` are the
    symlinks on the way, as pairs of path and target. ``depth`` is how many directories on the way to
    ``real`` exist, None for all of them; ``missing`` are the others, outermost first. ``mounts`` are the
    mount points below the root on the way.
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

    They are made when they are needed: those of a path with two thousand names take megabytes.
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
        """A root filesystem to look at. Paths are absolute, cleaned, and no component but the last
        may be a symlink: the caller resolves links name by name (``resolve.py``).

        One on which ids are others than in the container may have the map of them as ``ids``. One that knows
        the flags of chattr(1) may have ``flag(path)``: IMMUTABLE, APPEND_ONLY or empty."""

        def entry(self, path: str) -> "Entry | None":
            """Return lstat; None if the name is missing or a parent is not a directory."""

        def read(self, path: str, limit: int) -> bytes:
            """A regular file's bytes; LimitError above ``limit`` bytes."""

    class Image(Protocol):
        """Where templates come from."""

        name: str
        #: whether everything was seen: what an archive has behind its templates is not
        complete: bool

        def read_metadata(self) -> "Source":
            """metadata.yaml, its source named as the user would find it."""

        def read_templates(self, names: "Iterable[str]") -> "Mapping[str, TemplateFile]":
            """Every asked name is a key of the answer. An archive is read no further than needed."""
