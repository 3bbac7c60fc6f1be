"""Go's os.Root on the model: links are followed, never out of it."""

from __future__ import annotations

from ..model.entry import DIRECTORY, SYMLINK
from .errno_errors import EINVAL, ELOOP, EMPTY, ENAMETOOLONG, ENOENT, ENOTDIR, ESCAPES, Errno
from .host_filesystem import Node, World
from .known_paths import Names

ROOT_LINKS = 8  # Go: os/root_unix.go rootMaxSymlinks


class Root:
    """Go's os.Root on the model (os/root_openat.go doInRoot): links are followed, never out of it."""

    def __init__(self, world: World, names: Names) -> None:
        self.world = world
        self.names = names

    def walk(self, name: str, *, follow: bool = True) -> tuple[Names, Node | None]:
        parts, separator = _split_in_root(name, [], [])
        links = index = 0
        while True:
            if parts[index] == "..":
                end = index + 1
                while end < len(parts) and parts[end] == "..":
                    end += 1
                if end - index > index:
                    raise Errno(ESCAPES)
                del parts[index - (end - index) : end]
                parts = parts or ["."]
                index = 0
                continue
            last = index == len(parts) - 1
            names = (*self.names, *(part for part in parts[: index + 1] if part != "."))
            node = self.step(parts[index], names)
            if node is not None and node.kind == SYMLINK and (follow or not last):
                links += 1
                if links > ROOT_LINKS:
                    raise Errno(ELOOP)
                parts, new_separator = _split_in_root(node.target, parts[:index], parts[index + 1 :])
                if index == len(parts) - 1 or last:
                    separator = new_separator or separator
                index = 0
                continue
            if last:
                if separator and node is not None and node.kind != DIRECTORY:
                    raise Errno(ENOTDIR)
                return names, node
            if node is None:
                raise Errno(ENOENT)
            if node.kind != DIRECTORY:
                raise Errno(ENOTDIR)
            index += 1

    def step(self, name: str, names: Names) -> Node | None:
        if "\0" in name:
            raise Errno(EINVAL)
        if len(name.encode("utf-8", "surrogateescape")) > 255:
            raise Errno(ENAMETOOLONG)
        return self.world.node(names)

    def stat(self, name: str, *, follow: bool = True) -> Node:
        _, node = self.walk(name, follow=follow)
        if node is None:
            raise Errno(ENOENT)
        return node

    def mkdir(self, name: str) -> Names | None:
        """The directory's names, or None where the name exists, whatever it is."""
        names, node = self.walk(name, follow=False)
        if node is not None:
            return None
        self.world.make(names, DIRECTORY, 0o755)
        return names


def _split_in_root(path: str, prefix: list[str], suffix: list[str]) -> tuple[list[str], str]:
    """Go: os/root.go splitPathInRoot; a trailing separator is kept, ``.`` is dropped but at the end."""
    if not path:
        raise Errno(EMPTY)
    if path.startswith("/"):
        raise Errno(ESCAPES)
    stripped = path.rstrip("/")
    names = [name for name in stripped.split("/") if name]
    parts = prefix + [name for index, name in enumerate(names) if name != "." or index == len(names) - 1]
    if suffix and parts and parts[-1] == ".":
        parts.pop()
    return parts + suffix, path[len(stripped) :]
