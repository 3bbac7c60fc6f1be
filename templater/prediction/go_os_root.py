"""A model of Go's os.Root. An os.Root follows links, but never leaves its directory."""

from __future__ import annotations

from collections.abc import Iterator

from ..model.entry import DIRECTORY, SYMLINK
from .errno_errors import EINVAL, ELOOP, EMPTY, ENAMETOOLONG, ENOENT, ENOTDIR, ESCAPES, Errno, Fails
from .host_filesystem import HostFilesystem, Node, Place

ROOT_LINKS = 8  # Go: os/root_unix.go rootMaxSymlinks


class Root:
    """A model of Go's os.Root. Its steps are those of the function doInRoot in Go's os/root_openat.go."""

    def __init__(self, filesystem: HostFilesystem, place: Place) -> None:
        self.filesystem = filesystem
        self.place = place

    def walk(self, name: str, *, follow: bool = True) -> tuple[Place, Node | None]:
        """Return the place to which ``name`` leads, and the node at this place, such as a file.

        The node is None if the path's last component does not exist.
        """
        return _Walk(self).to(name, follow=follow)

    def stat(self, name: str, *, follow: bool = True) -> Node:
        _, node = self.walk(name, follow=follow)
        if node is None:
            raise Errno(ENOENT)
        return node

    def mkdir_each(self, directory: str) -> Iterator[Place]:
        """Create a directory and its parents, each with ``Mkdir``. Yield each new place.

        Raises Fails with path and error of the first directory that cannot be created.
        """
        walk = _Walk(self)
        names = directory.split("/")
        for count, name in enumerate(names):
            try:
                if count:  # the parent directory exists now
                    walk.enter(names[count - 1])
                place, node = walk.look(name)
                if node is None:
                    self.filesystem.make(place, DIRECTORY, 0o755)
            except Errno as error:
                raise Fails(f"mkdirat {'/'.join(names[: count + 1])}: {error}") from None
            if node is None:
                yield place


class _Walk:
    """A walk below a root directory, with the current directory and the number of followed links."""

    __slots__ = ("filesystem", "links", "place", "root")

    def __init__(self, root: Root) -> None:
        self.filesystem = root.filesystem
        self.root = root.place
        self.place = root.place
        self.links = 0

    def to(self, name: str, *, follow: bool, is_last: bool = True) -> tuple[Place, Node | None]:
        parts, separator = _split_in_root(name)
        pending = parts[::-1]
        while True:
            part = pending.pop()
            last = is_last and not pending
            place, node = self.look(part)
            if part == "..":
                self.place = place
                if not pending:
                    return place, node
                continue
            if node is not None and node.kind == SYMLINK and (follow or not last):
                self.links += 1
                if self.links > ROOT_LINKS:
                    raise Errno(ELOOP)
                parts, new_separator = _split_in_root(node.target)
                if parts[-1] == "." and (pending or not is_last):
                    parts.pop()
                if last or len(parts) + len(pending) == 1:
                    separator = new_separator or separator
                pending.extend(parts[::-1])
                if not pending:
                    return self.place, self.filesystem.node(self.place)
                continue
            if last:
                if separator and node is not None and node.kind != DIRECTORY:
                    raise Errno(ENOTDIR)
                return place, node
            if node is None:
                raise Errno(ENOENT)
            if node.kind != DIRECTORY:
                raise Errno(ENOTDIR)
            self.place = place
            if not pending:
                return place, node

    def enter(self, name: str) -> None:
        """Enter a directory, or the directory to which a link leads."""
        self.to(name, follow=True, is_last=False)

    def look(self, name: str) -> tuple[Place, Node | None]:
        """Return the place and node of a name in the current directory."""
        if name == "..":
            if self.place is self.root or self.place.parent is None:
                raise Errno(ESCAPES)
            place = self.place.parent
        elif name == ".":
            place = self.place
        elif "\0" in name:
            raise Errno(EINVAL)
        elif len(name.encode("utf-8", "surrogateescape")) > 255:
            raise Errno(ENAMETOOLONG)
        else:
            place = self.place.child(name)
        return place, self.filesystem.node(place)


def _split_in_root(path: str) -> tuple[list[str], str]:
    """Split a path like Go (os/root.go splitPathInRoot): drop each ``.`` that is not the last name.

    Return the names and the trailing slashes.
    """
    if not path:
        raise Errno(EMPTY)
    if path.startswith("/"):
        raise Errno(ESCAPES)
    stripped = path.rstrip("/")
    names = [name for name in stripped.split("/") if name]
    parts = [name for index, name in enumerate(names) if name != "." or index == len(names) - 1]
    return parts, path[len(stripped) :]
