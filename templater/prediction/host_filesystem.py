"""The daemon's file system with what was written to it; links are followed as the kernel does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..model.entry import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FILE, SOCKET, SYMLINK, Entry
from .errno_errors import (  # fmt: skip
    EEXIST,
    EINVAL,
    EISDIR,
    ELOOP,
    ENAMETOOLONG,
    ENOENT,
    ENOTDIR,
    ENXIO,
    EXDEV,
    Errno,
    Fails,
)
from .known_paths import Names, Surroundings, Unknown, below, names_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model.entry import RootfsView

KERNEL_LINKS = 40

#: majors set aside for local use: nothing drives them
LOCAL_MAJORS = (*range(60, 64), *range(120, 128), *range(240, 255))

#: chown(2) leaves an id as it is where it is told this one
_NOBODY = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Node:
    """Something in the daemon's file system; ``content`` None: as it was before."""

    kind: str
    mode: int
    uid: int
    gid: int
    content: bytes | None = None
    target: str = ""
    rdev: int = 0
    nlink: int = 1


class World:
    """The daemon's file system with what was written to it; paths are the daemon's."""

    def __init__(
        self, view: RootfsView, surroundings: Surroundings, check_time: Callable[[], None] | None = None
    ) -> None:
        self.view = view
        self.check_time = check_time
        self.surroundings = surroundings
        self.instance = surroundings.instance
        self.rootfs = surroundings.instance + "/rootfs"
        self.templates = surroundings.instance + "/templates"
        self.made: dict[Names, Node] = {}
        #: what each write displaced, oldest first
        self.journal: list[tuple[Names, Node | None]] = []

    def undo(self, mark: int) -> None:
        """Take back everything that was written since the journal had this length."""
        while len(self.journal) > mark:
            names, before = self.journal.pop()
            if before is None:
                del self.made[names]
            else:
                self.made[names] = before

    def shown(self, path: str) -> str:
        """A path of the daemon as its users read it here."""
        for name, place in (
            ("$ROOTFS", self.rootfs),
            ("$TEMPLATES", self.templates),
            ("$INSTANCE", self.instance),
        ):
            inside = below(path, place)
            if inside is not None:
                return name + inside.rstrip("/")
        return path

    def node(self, names: Names) -> Node | None:
        made = self.made.get(names)
        if made is not None:
            return made
        entry = self.view.entry("/" + "/".join(names)) if names else Entry(DIRECTORY, 0o755)
        if entry is None:
            return None
        shift = self.surroundings.shift if names[: len(names_of(self.rootfs))] == names_of(self.rootfs) else 0
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

    def content(self, names: Names) -> bytes:
        node = self.node(names)
        if node is not None and node.content is not None:
            return node.content
        return self.view.read("/" + "/".join(names), 1 << 30)

    def put(self, names: Names, node: Node) -> None:
        """Every write comes through here; nodes themselves are never changed."""
        self.journal.append((names, self.made.get(names)))
        self.made[names] = node

    # the kernel

    def make(self, names: Names, kind: str, mode: int) -> None:
        """Make an empty file or a directory.

        Both inherit the group of a setgid directory; a directory inherits the bit as well.
        """
        mode &= ~self.surroundings.umask
        parent = self.node(names[:-1])
        inherits = parent is not None and bool(parent.mode & 0o2000)
        gid = parent.gid if parent is not None and inherits else 0
        if kind == DIRECTORY:
            self.put(names, Node(DIRECTORY, mode | (0o2000 if inherits else 0), 0, gid))
        else:
            self.put(names, Node(kind, mode, 0, gid, b""))

    def walk(
        self, path: str, *, follow: bool = True, create: bool = False, beneath: Names | None = None
    ) -> tuple[Names, Node | None]:
        """Where a path leads, as the kernel goes there; None for a last name that does not exist.

        ``beneath`` is openat2's RESOLVE_BENEATH, ``create`` is O_CREAT.
        """
        if "\0" in path:
            raise Errno(EINVAL)
        names: list[str] = list(beneath or ())
        pending = path.split("/")[::-1]
        node: Node | None = self.node(tuple(names))
        links = 0
        slash = False
        while pending:
            name = pending.pop()
            if name in ("", "."):
                slash = node is None
                if node is not None and node.kind != DIRECTORY:
                    raise Errno(EISDIR if create and not any(pending) else ENOTDIR)
                continue
            if node is not None and node.kind != DIRECTORY:
                raise Errno(ENOTDIR)
            if node is None:
                raise Errno(ENOENT)
            if name == "..":
                if beneath is not None and tuple(names) == beneath:
                    raise Errno(EXDEV)
                del names[-1:]
                node = self.node(tuple(names))
                continue
            if len(name.encode("utf-8", "surrogateescape")) > 255:
                raise Errno(ENAMETOOLONG)
            found = self._look((*names, name), pending)
            if found is not None and found.kind == SYMLINK and (follow or pending):
                links += 1
                if links > KERNEL_LINKS:
                    raise Errno(ELOOP)
                if found.target.startswith("/"):
                    if beneath is not None:
                        raise Errno(EXDEV)
                    names, node = [], self.node(())
                pending.extend(found.target.split("/")[::-1])
                continue
            names.append(name)
            node = found
        if slash and create:
            raise Errno(EISDIR)
        return tuple(names), node

    def _look(self, names: Names, ahead: list[str]) -> Node | None:
        try:
            return self.node(names)
        except Unknown:
            raise Unknown("/" + "/".join([*names, *(name for name in ahead[::-1] if name)])) from None

    def stat(self, path: str) -> Node:
        _, node = self.walk(path)
        if node is None:
            raise Errno(ENOENT)
        return node

    def exists(self, path: str) -> bool:
        """Incus: internal/util PathExists; every error but ENOENT counts as existing."""
        try:
            return self.walk(path, follow=False)[1] is not None
        except Errno as error:
            return str(error) != ENOENT

    def open_truncate(self, path: str) -> Names:
        """Go's os.Create: O_RDWR|O_CREATE|O_TRUNC, 0666 less the umask."""
        names, node = self.walk(path, create=True)
        if node is None:
            self.make(names, FILE, 0o666)
        else:
            self.truncate(names, node)
        return names

    def truncate(self, names: Names, node: Node) -> None:
        if node.kind == DIRECTORY:
            raise Errno(EISDIR)
        if not _driven(node):
            raise Errno(ENXIO)
        if node.kind == FILE:
            self.put(names, replace(node, content=b""))

    def write(self, names: Names, content: bytes) -> None:
        node = self.node(names)
        if node is not None and node.kind == FILE:
            self.put(names, replace(node, content=content))

    def mkdir(self, path: str) -> None:
        names, node = self.walk(path, follow=False)
        if node is not None:
            raise Errno(EEXIST)
        self.make(names, DIRECTORY, 0o755)

    def chown(self, names: Names, uid: int, gid: int) -> None:
        node = self.made[names]
        uid = node.uid if uid & _NOBODY == _NOBODY else uid & _NOBODY
        gid = node.gid if gid & _NOBODY == _NOBODY else gid & _NOBODY
        self.put(names, replace(node, uid=uid, gid=gid))

    def mkdir_all(self, path: str) -> None:
        """Incus: internal/util MkdirAllOwner, which chowns through a dangling link it could not make."""
        try:
            self.stat(path)
            return
        except Errno:
            pass
        parent = path.rpartition("/")[0]
        if parent:
            self.mkdir_all(parent)
        try:
            self.mkdir(path)
        except Errno as error:
            try:
                self.stat(path)
            except Errno as missing:
                raise Fails(f"chown {self.shown(path)}: {missing}") from None
            raise Fails(f"mkdir {self.shown(path)}: {error}") from None
        self.chown(self.walk(path)[0], self.surroundings.shift, self.surroundings.shift)


def _driven(node: Node) -> bool:
    """Whether opening it finds anybody: a socket never does, a device only with its driver."""
    if node.kind in (CHAR_DEVICE, BLOCK_DEVICE):
        return (node.rdev >> 8) & 0xFFF not in LOCAL_MAJORS
    return node.kind != SOCKET
