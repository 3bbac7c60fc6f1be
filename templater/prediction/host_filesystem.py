"""A model of the daemon's file system, which records writes, and follows links as the kernel does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from posixpath import normpath
from typing import NamedTuple
from weakref import ref

from ..model.entry import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FILE, IMMUTABLE, SOCKET, SYMLINK
from ..model.file_names import ROOTFS, TEMPLATES
from .errno_errors import (
    EEXIST,
    EINVAL,
    EISDIR,
    ELOOP,
    ENAMETOOLONG,
    ENOENT,
    ENOTDIR,
    ENXIO,
    EPERM,
    EXDEV,
    Errno,
    Fails,
)
from .known_host_files import Names, Surroundings, Unknown, below, names_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model.entry import RootfsView

KERNEL_LINKS = 40
MAX_NAME = 255

#: major device numbers for local use, which have no driver
LOCAL_MAJORS = (*range(60, 64), *range(120, 128), *range(240, 255))

#: chown(2) leaves an id unchanged if given this value
_KEEP_ID = 0xFFFFFFFF


class Node(NamedTuple):
    """A file, directory or other object. ``content`` is None if the start did not write the file."""

    kind: str
    mode: int
    uid: int
    gid: int
    content: bytes | None = None
    target: str = ""
    rdev: int = 0
    nlink: int = 1


class Place:
    """A name in a directory of the daemon's file system. A file with this name may or may not exist.

    Places form a tree.
    """

    __slots__ = ("__weakref__", "_parent", "before", "children", "is_known", "made", "name")

    def __init__(self, parent: Place | None, name: str) -> None:
        # The reference is weak, because a cycle would keep the written files in memory.
        self._parent = None if parent is None else ref(parent)
        self.name = name
        self.children: dict[str, Place] = {}
        #: the node that the start wrote at this path
        self.made: Node | None = None
        #: the node before the start, valid only if ``is_known``
        self.before: Node | None = None
        self.is_known = False

    @property
    def parent(self) -> Place | None:
        return None if self._parent is None else self._parent()

    def child(self, name: str) -> Place:
        found = self.children.get(name)
        if found is None:
            found = self.children[name] = Place(self, name)
        return found

    @property
    def names(self) -> Names:
        names = []
        place = self
        while place.parent is not None:
            names.append(place.name)
            place = place.parent
        return tuple(reversed(names))

    @property
    def path(self) -> str:
        return "/" + "/".join(self.names)


class HostFilesystem:
    """The daemon's file system, including the writes of a start. Paths are the daemon's absolute paths."""

    def __init__(
        self, view: RootfsView, surroundings: Surroundings, check_time: Callable[[], None] | None = None
    ) -> None:
        self.view = view
        self.surroundings = surroundings
        self.check_time = check_time or (lambda: None)
        self.instance = surroundings.instance
        self.rootfs = f"{self.instance}/{ROOTFS}"
        self.templates = f"{self.instance}/{TEMPLATES}"
        self._rootfs_names = names_of(self.rootfs)
        self.top = Place(None, "")
        self.top.before, self.top.is_known = Node(DIRECTORY, 0o755, 0, 0), True
        #: for each write, oldest first: the written place, and its node before the write
        self.journal: list[tuple[Place, Node | None]] = []

    def undo(self, mark: int) -> None:
        """Undo all writes except the first ``mark`` writes in the journal."""
        while len(self.journal) > mark:
            place, before = self.journal.pop()
            place.made = before

    @property
    def made(self) -> dict[Names, Node]:
        """The files and directories that the predicted start has written, as a dict from path to node."""
        places = dict.fromkeys(place for place, _ in self.journal)
        return {place.names: place.made for place in places if place.made is not None}

    def shown(self, path: str) -> str:
        """Return a path in which ``$ROOTFS``, ``$TEMPLATES`` or ``$INSTANCE`` replaces a known directory."""
        for name, place in (
            ("$ROOTFS", self.rootfs),
            ("$TEMPLATES", self.templates),
            ("$INSTANCE", self.instance),
        ):
            inside = below(path, place)
            if inside is not None:
                return name + inside.rstrip("/")
        return path

    def place(self, names: Names) -> Place:
        place = self.top
        for name in names:
            place = place.child(name)
        return place

    def assume_directories(self, root: str, paths: Iterable[str]) -> None:
        """Treat the parents of ``paths`` as existing directories. All of ``paths`` are below ``root``."""
        directory = Node(DIRECTORY, 0o755, self.surroundings.shift, self.surroundings.shift)
        for path in paths:
            place = self.place(names_of(root))
            for name in names_of(normpath("/" + path.lstrip("/")))[:-1]:
                place = place.child(name)
                place.before, place.is_known = directory, True

    def node(self, place: Place) -> Node | None:
        if place.made is not None:
            return place.made
        if not place.is_known:
            place.before = self._look(place)
            place.is_known = True
        return place.before

    def _look(self, place: Place) -> Node | None:
        parent = place.parent
        # Skip lookups below a missing directory, because an image may name thousands of paths there.
        if (
            parent is not None
            and parent.is_known
            and (parent.before is None or parent.before.kind != DIRECTORY)
        ):
            return None
        names = place.names
        entry = self.view.entry("/" + "/".join(names))
        if entry is None:
            return None
        inside = names[: len(self._rootfs_names)] == self._rootfs_names
        shift = self.surroundings.shift if inside else 0
        return Node(
            entry.kind,
            entry.mode,
            entry.uid + shift,
            entry.gid + shift,
            None,
            entry.target,
            entry.rdev,
            entry.nlink,
        )

    def content(self, place: Place) -> bytes:
        node = self.node(place)
        if node is not None and node.content is not None:
            return node.content
        return self.view.read(place.path, 1 << 30)

    def put(self, place: Place, node: Node) -> None:
        """Replace the node of a place (nodes are immutable), and record the old node in the journal."""
        self.journal.append((place, place.made))
        place.made = node

    # system calls

    def walk(
        self, path: str, *, follow: bool = True, create: bool = False, beneath: Place | None = None
    ) -> tuple[Place, Node | None]:
        """Return the place to which a path leads, and its node. The node is None if the last name is missing.

        * ``create``: whether O_CREAT is set
        * ``beneath``: the directory of an openat2 with RESOLVE_BENEATH

        Raises Errno with the kernel's error, or Unknown if the path leads outside the known files.
        """
        cursor = Cursor(self, beneath)
        cursor.walk(path, follow=follow, create=create)
        return cursor.place, cursor.node

    def stat(self, path: str) -> Node:
        _, node = self.walk(path)
        if node is None:
            raise Errno(ENOENT)
        return node

    def exists(self, path: str) -> bool:
        """Return whether a path exists.

        As in Incus's PathExists, any error except ENOENT means that the path exists.
        """
        try:
            return self.walk(path, follow=False)[1] is not None
        except Errno as error:
            return str(error) != ENOENT

    def open_truncate(self, path: str) -> Place:
        """Open like Go's os.Create: O_RDWR|O_CREATE|O_TRUNC, with mode 0666 minus the umask."""
        place, node = self.walk(path, create=True)
        if node is None:
            self.make(place, FILE, 0o666)
        else:
            self.truncate(place, node)
        return place

    def truncate(self, place: Place, node: Node) -> None:
        if node.kind == DIRECTORY:
            raise Errno(EISDIR)
        if not _can_be_opened(node):
            raise Errno(ENXIO)
        if node.kind == FILE:
            if self._flag(place):
                raise Errno(EPERM)
            self.put(place, node._replace(content=b""))

    def _flag(self, place: Place) -> str:
        """Return the flag of an existing file (``immutable`` or ``append-only``), or "" if neither is set."""
        asked = getattr(self.view, "flag", None)
        if asked is None or place.before is None or place.before.kind not in (FILE, DIRECTORY):
            return ""
        return str(asked(place.path))

    def write(self, place: Place, content: bytes) -> None:
        node = self.node(place)
        if node is not None and node.kind == FILE:
            self.put(place, node._replace(content=content))

    def make(self, place: Place, kind: str, mode: int) -> None:
        """Create an empty file or a directory. Raises Errno in an immutable directory.

        If the parent has the setgid bit, the new file gets the parent's group. A directory also gets the bit.
        """
        if place.parent is not None and self._flag(place.parent) == IMMUTABLE:
            raise Errno(EPERM)
        mode &= ~self.surroundings.umask
        parent = None if place.parent is None else self.node(place.parent)
        inherits = parent is not None and bool(parent.mode & 0o2000)
        gid = parent.gid if parent is not None and inherits else 0
        if kind == DIRECTORY:
            self.put(place, Node(DIRECTORY, mode | (0o2000 if inherits else 0), 0, gid))
        else:
            self.put(place, Node(kind, mode, 0, gid, b""))

    def chown(self, place: Place, uid: int, gid: int) -> None:
        node = self.node(place)
        assert node is not None
        uid = node.uid if uid & _KEEP_ID == _KEEP_ID else uid & _KEEP_ID
        gid = node.gid if gid & _KEEP_ID == _KEEP_ID else gid & _KEEP_ID
        self.put(place, node._replace(uid=uid, gid=gid))

    def mkdir_all(self, path: str) -> None:
        """Create directories like Incus (internal/util MkdirAllOwner).

        If mkdir fails, for example at a dangling link, Incus still calls chown. Incus then reports the error
        of chown.
        """
        cursor = Cursor(self)
        names = names_of(path)
        for count, name in enumerate(names, 1):
            parent, parent_node = cursor.place, cursor.node
            try:
                cursor.walk(name)
                if cursor.node is None:
                    raise Errno(ENOENT)
                continue
            except Errno as error:
                missing = error
            try:
                made = cursor.make_directory(parent, parent_node, name)
            except Errno:
                shown = self.shown("/" + "/".join(names[:count]))
                raise Fails(f"chown {shown}: {missing}") from None
            self.chown(made, self.surroundings.shift, self.surroundings.shift)


class Cursor:
    """A walk along a path, name by name, as in the kernel, with a count of the followed links."""

    __slots__ = ("beneath", "filesystem", "links", "node", "place")

    def __init__(self, filesystem: HostFilesystem, beneath: Place | None = None) -> None:
        self.filesystem = filesystem
        self.beneath = beneath
        self.place = beneath or filesystem.top
        self.node = filesystem.node(self.place)
        self.links = 0

    def walk(self, path: str, *, follow: bool = True, create: bool = False) -> None:
        """Continue the walk along a path, as ``HostFilesystem.walk`` describes."""
        if "\0" in path:
            raise Errno(EINVAL)
        filesystem = self.filesystem
        pending = _reversed(path)
        while pending:
            name = pending.pop()
            if not name and self.node is None:
                continue
            self.require_directory()
            if name in ("", "."):
                continue
            if name == "..":
                if self.place is self.beneath:
                    raise Errno(EXDEV)
                self.place = self.place.parent or self.place
                self.node = filesystem.node(self.place)
                continue
            if create and pending and not any(pending):
                raise Errno(EISDIR)
            if _is_too_long(name):
                raise Errno(ENAMETOOLONG)
            place = self.place.child(name)
            found = self._look(place, pending)
            if found is not None and found.kind == SYMLINK and (follow or pending):
                self.links += 1
                if self.links > KERNEL_LINKS:
                    raise Errno(ELOOP)
                if found.target.startswith("/"):
                    if self.beneath is not None:
                        raise Errno(EXDEV)
                    self.place = filesystem.top
                    self.node = filesystem.node(self.place)
                pending.extend(_reversed(found.target))
                continue
            self.place, self.node = place, found

    def require_directory(self) -> None:
        if self.node is None:
            raise Errno(ENOENT)
        if self.node.kind != DIRECTORY:
            raise Errno(ENOTDIR)

    def make_directory(self, parent: Place, parent_node: Node | None, name: str) -> Place:
        """Create a directory like mkdirat(2), and enter it."""
        self.place, self.node = parent, parent_node
        self.require_directory()
        if _is_too_long(name):
            raise Errno(ENAMETOOLONG)
        if "\0" in name:
            raise Errno(EINVAL)
        place = parent.child(name)
        if self.filesystem.node(place) is not None:
            raise Errno(EEXIST)
        self.filesystem.make(place, DIRECTORY, 0o755)
        self.place, self.node = place, self.filesystem.node(place)
        return place

    def _look(self, place: Place, ahead: list[str]) -> Node | None:
        try:
            return self.filesystem.node(place)
        except Unknown:
            raise Unknown("/".join([place.path, *(name for name in ahead[::-1] if name)])) from None


def _reversed(path: str) -> list[str]:
    """Return the names of a path, last name first. An empty name stands for slashes at the end."""
    names = [name for name in path.split("/") if name]
    return ["", *names[::-1]] if path.endswith("/") else names[::-1]


def _is_too_long(name: str) -> bool:
    return len(name.encode("utf-8", "surrogateescape")) > MAX_NAME


def _can_be_opened(node: Node) -> bool:
    """Return whether open(2) succeeds: never for a socket, and for a device only if it has a driver."""
    if node.kind in (CHAR_DEVICE, BLOCK_DEVICE):
        return (node.rdev >> 8) & 0xFFF not in LOCAL_MAJORS
    return node.kind != SOCKET
