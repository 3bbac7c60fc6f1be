"""A root filesystem in memory, for planning without a directory, for simulations and for tests."""

from ..model.entry import DIRECTORY, FILE, SYMLINK, Entry
from ..model.errors import LimitError, RefusedError, WriteError
from .paths import MissingError, components, encoded, no_directory, not_regular, refuse_bad_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..model.plan import Change


class _Node:
    """An inode. Several names can refer to the same inode."""

    __slots__ = (
        "children",
        "content",
        "flag",
        "gid",
        "is_mount",
        "kind",
        "mode",
        "nlink",
        "rdev",
        "target",
        "uid",
    )

    def __init__(self, kind: str, mode: int, uid: int, gid: int) -> None:
        self.kind = kind
        self.mode = 0o777 if kind == SYMLINK else mode & 0o7777
        self.uid = uid
        self.gid = gid
        self.content = b""
        self.target = ""
        self.children: dict[str, _Node] = {}
        self.nlink = 1
        self.rdev = 0
        self.is_mount = False
        self.flag = ""

    def entry(self) -> Entry:
        # In every view, a directory's ``nlink`` is 1 and only files have a size, because file systems differ
        # in these values.
        return Entry(
            self.kind, self.mode, self.uid, self.gid, len(self.content), self.nlink,
            self.target, self.is_mount, self.rdev,
        )  # fmt: skip

    def copy(self, seen: "dict[int, _Node]") -> "_Node":
        twin = seen.get(id(self))
        if twin is None:
            twin = seen[id(self)] = _Node(self.kind, self.mode, self.uid, self.gid)
            twin.content, twin.target, twin.nlink = self.content, self.target, self.nlink
            twin.rdev, twin.is_mount, twin.flag = self.rdev, self.is_mount, self.flag
            twin.children = {name: child.copy(seen) for name, child in self.children.items()}
        return twin


def node_of(entry: Entry) -> _Node:
    """Return a node with the attributes of an entry, and without content."""
    node = _Node(entry.kind, entry.mode, entry.uid, entry.gid)
    node.target, node.rdev, node.is_mount = entry.target, entry.rdev, entry.is_mount
    return node


class MemoryRootfs:
    """A writable ``RootfsView``.

    ``tree`` maps absolute paths to a file's content or to an ``Entry`` of another kind. Missing parents are
    created.
    """

    def __init__(self, tree: "Mapping[str, str | bytes | Entry] | None" = None) -> None:
        self._root = _Node(DIRECTORY, 0o755, 0, 0)
        for path, value in (tree or {}).items():
            self._plant(path, value)

    def __repr__(self) -> str:
        return f"MemoryRootfs({len(list(self.walk()))} names)"

    # reading

    def entry(self, path: str) -> "Entry | None":
        node: _Node | None = self._root
        for name in components(path):
            if node is None or node.kind != DIRECTORY:
                return None
            node = node.children.get(name)
        return None if node is None else node.entry()

    def read(self, path: str, limit: int) -> bytes:
        node = self._find(path)
        if node is None:
            raise MissingError(f"{path!r} does not exist")
        if node.kind != FILE:
            raise not_regular(path, node.kind)
        if len(node.content) > limit:
            raise LimitError(f"{path!r} is larger than {limit} bytes")
        return node.content

    def listdir(self, path: str, *, most: "int | None" = None) -> "list[str]":
        """Return the sorted names in a directory. ``most`` is ignored: the names are in memory already."""
        return sorted(self._directory(path).children)

    def walk(self, path: str = "/") -> "Iterator[tuple[str, Entry]]":
        """Yield every path below a directory with its entry, parents first, sorted."""
        waiting = _children(path.rstrip("/"), self._directory(path))
        while waiting:
            below, node = waiting.pop()
            yield below, node.entry()
            waiting += _children(below, node)

    def copy(self) -> "MemoryRootfs":
        """Return an independent copy."""
        twin = MemoryRootfs()
        twin._root = self._root.copy({})
        return twin

    # --- writing: parents must exist, and symlinks are not followed

    def carry_out(self, change: "Change") -> None:
        """Create the missing parents and write the file, as ``apply`` does on disk."""
        self.make_parents(change.real)
        self.write(change.real, change.content or b"", change.mode, change.uid, change.gid)

    def write(self, path: str, content: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        """Create or replace a file. Other hard links of a replaced file keep the old content.

        If a file is mounted at the path, change only its content, not its owner and mode.
        """
        directory, name = self._parent(path)
        old = directory.children.get(name)
        if old is not None and old.kind != FILE:
            raise not_regular(path, old.kind)
        if old is not None and old.is_mount:
            old.content = content
            return
        node = _Node(FILE, mode, uid, gid)
        node.content = content
        self._put(directory, name, node)

    def overwrite(self, path: str, content: bytes) -> None:
        """Overwrite an existing file as the daemons do: all its hard links get the new content."""
        node = self._find(path)
        if node is None or node.kind != FILE:
            raise WriteError(f"{path!r} is not a file")
        node.content = content

    def mkdir(self, path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        self._new(path, _Node(DIRECTORY, mode, uid, gid))

    def make_parents(self, path: str) -> None:
        """Create the missing directories above a path as ``apply`` does: owned by root, mode 0755.

        A new directory inherits the setgid bit of its parent.
        """
        node, walked = self._root, ""
        for name in components(path)[:-1]:
            if node.kind != DIRECTORY:
                raise no_directory(path, walked, node.kind)
            below = node.children.get(name)
            if below is None:
                below = node.children[name] = _Node(DIRECTORY, 0o755 | node.mode & 0o2000, 0, 0)
            node = below
            walked += "/" + name

    def symlink(self, path: str, target: str) -> None:
        if not target or "\0" in target:
            raise WriteError(f"{path!r}: invalid symlink target {target!r}")
        encoded(target)
        node = _Node(SYMLINK, 0o777, 0, 0)
        node.target = target
        self._new(path, node)

    def special(self, path: str, kind: str, mode: int = 0o644, rdev: int = 0) -> None:
        """Create a fifo, socket or device."""
        node = _Node(kind, mode, 0, 0)
        node.rdev = rdev
        self._new(path, node)

    def link(self, existing: str, path: str) -> None:
        """Create a hard link. Raises WriteError if ``existing`` is missing or a directory."""
        node = self._find(existing)
        if node is None or node.kind == DIRECTORY:
            raise WriteError(f"can't create a hard link to {existing!r}")
        self._new(path, node)
        node.nlink += 1

    def own(self, path: str, mode: int, uid: int, gid: int) -> None:
        """Set the mode and owner of an existing name. A symlink's mode stays 0777."""
        node = self._find(path)
        if node is None:
            raise WriteError(f"{path!r} does not exist")
        node.uid, node.gid = uid, gid
        if node.kind != SYMLINK:
            node.mode = mode & 0o7777

    def inode(self, path: str) -> int:
        """Return the inode number, which is the same for all hard links of a file."""
        return id(self._find(path))

    def flag(self, path: str) -> str:
        node = self._find(path)
        return "" if node is None else node.flag

    def set_flag(self, path: str, flag: str) -> None:
        """Mark an existing name as IMMUTABLE or APPEND_ONLY.

        Plans respect the mark, but writers ignore it.
        """
        node = self._find(path)
        if node is None:
            raise WriteError(f"{path!r} does not exist")
        node.flag = flag

    def mount(self, path: str) -> None:
        """Mark an existing name as a mount point."""
        node = self._find(path)
        if node is None:
            raise WriteError(f"{path!r} does not exist")
        node.is_mount = True

    def remove(self, path: str) -> None:
        """Remove a name; a directory is removed with everything below it."""
        directory, name = self._parent(path)
        if name not in directory.children:
            raise WriteError(f"{path!r} does not exist")
        self._drop(directory, name)

    def rename(self, old: str, new: str) -> None:
        """Rename as rename(2) does. A file replaces a file, and a directory replaces an empty directory.

        Raises WriteError if ``new`` exists and cannot be replaced.
        """
        source, old_name = self._parent(old)
        node = source.children.get(old_name)
        if node is None:
            raise WriteError(f"{old!r} does not exist")
        if new.startswith(old + "/"):
            raise WriteError(f"{old!r} can't be moved into itself")
        target, new_name = self._parent(new)
        there = target.children.get(new_name)
        if there is node:
            return  # both names have the same inode: rename(2) does nothing
        if there is not None and (there.kind == DIRECTORY) != (node.kind == DIRECTORY):
            raise WriteError(f"{new!r} is a {there.kind}")
        if there is not None and there.children:
            raise WriteError(f"{new!r} is not empty")
        if there is not None:
            self._drop(target, new_name)
        del source.children[old_name]
        target.children[new_name] = node

    # internal

    def _plant(self, path: str, value: "str | bytes | Entry") -> None:
        self.make_parents(path)
        if isinstance(value, str | bytes):
            self.write(path, encoded(value) if isinstance(value, str) else value)
            return
        node = node_of(value)
        directory, name = self._parent(path)
        if value.kind == DIRECTORY and name in directory.children:
            node.children = directory.children[name].children
        directory.children[name] = node

    def _directory(self, path: str) -> _Node:
        node = self._find(path)
        if node is None:
            raise MissingError(f"{path!r} does not exist")
        if node.kind != DIRECTORY:
            raise no_directory(path, path, node.kind)
        return node

    def _find(self, path: str) -> "_Node | None":
        node: _Node | None = self._root
        names = components(path)
        for depth, name in enumerate(names):
            if node is None:
                return None
            if node.kind != DIRECTORY:
                raise no_directory(path, "/" + "/".join(names[:depth]), node.kind)
            node = node.children.get(name)
        return node

    def _parent(self, path: str) -> "tuple[_Node, str]":
        refuse_bad_path(path)
        if path == "/":
            raise RefusedError("can't write to '/': it is the root directory itself")
        above, _, name = path.rpartition("/")
        above = above or "/"
        parent = self._find(above)
        if parent is None:
            raise WriteError(f"{path!r}: {above!r} does not exist")
        if parent.kind != DIRECTORY:
            raise no_directory(path, above, parent.kind)
        return parent, name

    def _new(self, path: str, node: _Node) -> None:
        directory, name = self._parent(path)
        if name in directory.children:
            raise WriteError(f"{path!r} exists")
        directory.children[name] = node

    def _put(self, directory: _Node, name: str, node: _Node) -> None:
        if name in directory.children:
            self._drop(directory, name)
        directory.children[name] = node

    def _drop(self, directory: _Node, name: str) -> None:
        node = directory.children.pop(name)
        node.nlink -= 1
        for child in list(node.children):
            self._drop(node, child)


def _children(path: str, node: _Node) -> "list[tuple[str, _Node]]":
    """Return the paths and nodes in a directory, last name first."""
    return [(f"{path}/{name}", child) for name, child in sorted(node.children.items(), reverse=True)]
