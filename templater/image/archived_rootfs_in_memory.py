"""The root filesystem of a packed image in memory: all names, and the content of rule targets."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from ..model.entry import DIRECTORY, FILE, SYMLINK, Entry
from ..model.errors import LimitError, TemplaterError
from ..model.unprintable_characters import printable
from ..parsing.metadata_yaml import read_metadata
from ..planning.follow_links import Steps, clean, resolve
from ..rootfs.memory_rootfs import MemoryRootfs, _Node, node_of
from ..rootfs.paths import components, no_directory, refuse_bad_path
from .directory_members import Data
from .limits import DEFAULT, MIB, HeldBytes, Limits, memory_of
from .read_whole_image import SplitContents, UnifiedContents
from .tar_reader import HARD_LINK, Member

if TYPE_CHECKING:
    from ..model.entry import Image
    from ..parsing.yaml_nodes import Limits as YamlLimits

#: estimated memory for a name, in addition to its text
_NAME_BYTES = 400
#: a directory for which the archive has no member
_IMPLIED = Entry(DIRECTORY, 0o755)
#: limits in bytes on one file and on all files that are kept in memory to compare them with rendered files
_FILE_BYTES = 16 * MIB
_FILES_BYTES = 64 * MIB


class Contents(Protocol):
    """A root filesystem that can be read more than once."""

    name: str

    def rootfs(self) -> Iterator[tuple[Member, Data]]:
        """Yield the members of the root filesystem, with names relative to it, and their data."""


class ImageRootfs(MemoryRootfs):
    """An in-memory root filesystem. Only files to which rules write have content."""

    def __init__(self) -> None:
        super().__init__()
        #: size of each regular file, by cleaned path
        self.sizes: dict[str, int] = {}
        #: directories by path, for a fast lookup while names are added
        self._directories: dict[str, _Node] = {}

    def read(self, path: str, limit: int) -> bytes:
        """Return a file's bytes.

        Raises LimitError if the file is too large, or if its content was not read from the image.
        """
        data = super().read(path, limit)
        if len(data) != self.sizes.get(path, len(data)):
            raise LimitError(f"the content of '{printable(path)}' was not read from the image")
        return data

    def add_parents(self, path: str) -> int:
        """Create the missing directories above a path, as unpacking does. Return the memory they need."""
        above = path[: path.rindex("/")]
        if self._seen(above) is not None:
            return 0
        node, created = self._root, 0
        names = components(path)[:-1]
        for depth, name in enumerate(names):
            if node.kind != DIRECTORY:
                raise no_directory(path, "/" + "/".join(names[:depth]), node.kind)
            below = node.children.get(name)
            if below is None:
                below = node.children[name] = node_of(_IMPLIED)
                created += 1
            node = below
        if above and node.kind == DIRECTORY:
            self._directories[above] = node
        return created * _NAME_BYTES + memory_of(above)

    def forget_directories(self) -> None:
        """Disable the fast lookup of names, because ``rename`` would make its results wrong."""
        self._directories.clear()

    def entry(self, path: str) -> Entry | None:
        directory = self._seen(path[: path.rfind("/")])
        if directory is None:
            return super().entry(path)
        refuse_bad_path(path)
        node = directory.children.get(path[path.rindex("/") + 1 :])
        return None if node is None else node.entry()

    def fill(self, path: str, content: bytes) -> None:
        """Set the content of a file, also for the file's other hard links."""
        node = self._find(path)
        assert node is not None
        node.content = content

    def _find(self, path: str) -> _Node | None:
        if (node := self._seen(path)) is not None:
            return node
        directory = self._seen(path[: path.rfind("/")])
        if directory is None:
            return super()._find(path)
        refuse_bad_path(path)
        return directory.children.get(path[path.rindex("/") + 1 :])

    def _seen(self, path: str) -> _Node | None:
        """Return the directory at a path below ``/``, or None if ``add_parents`` has not seen it.

        Also return None if the directory does not exist any more.
        """
        directory = self._directories.get(path)
        return directory if directory is not None and directory.nlink else None


def read_image_rootfs(
    path: str,
    rootfs: str | None = None,
    *,
    targets: Iterable[str] = (),
    limits: Limits = DEFAULT,
) -> ImageRootfs:
    """Read the root filesystem of a unified image, or of a split image with its second file ``rootfs``.

    ``targets`` are the paths that rules write to.

    Raises:
        InputError: the image has no root filesystem.
        RefusedError: the image has a hostile name.
        LimitError: the image has too many names.
    """
    contents = UnifiedContents(path, limits) if rootfs is None else SplitContents(path, rootfs, limits)
    return read_rootfs(contents, targets, limits)


def read_planned_rootfs(
    path: str, rootfs: str | None, image: Image, reading: YamlLimits | None, limits: Limits
) -> ImageRootfs:
    """Call ``read_image_rootfs`` with the targets of the image's rules."""
    rules = read_metadata(image.read_metadata(), limits=reading).rules
    return read_image_rootfs(path, rootfs, targets=[rule.path for rule in rules], limits=limits)


def read_rootfs(contents: Contents, targets: Iterable[str], limits: Limits = DEFAULT) -> ImageRootfs:
    """Read all names of a root filesystem, and the content of the files to which ``targets`` lead."""
    tree = ImageRootfs()
    held = HeldBytes(contents.name, limits)
    for member, _ in contents.rootfs():
        held.add(memory_of(member.name, member.target), _NAME_BYTES)
        if member.name:
            path = "/" + member.name
            held.add(tree.add_parents(path))
            _add(tree, path, member)
        elif member.kind == DIRECTORY:
            tree.own("/", member.mode, member.uid, member.gid)
    _read_files(contents, tree, _existing(tree, targets))
    tree.forget_directories()
    return tree


def _add(tree: ImageRootfs, path: str, member: Member) -> None:
    """Add a member, as unpacking does: replace an earlier member of that name."""
    old = tree.entry(path)
    if old is not None and old.kind == member.kind == DIRECTORY:
        tree.own(path, member.mode, member.uid, member.gid)
        return
    if old is not None:
        tree.remove(path)
        tree.sizes.pop(path, None)
    if member.kind == DIRECTORY:
        tree.mkdir(path, member.mode, member.uid, member.gid)
    elif member.kind == HARD_LINK:
        target = "/" + member.target
        if tree.entry(target) is not None:
            tree.link(target, path)
            if target in tree.sizes:
                tree.sizes[path] = tree.sizes[target]
    elif member.kind == SYMLINK:
        tree.symlink(path, member.target)
        tree.own(path, 0o777, member.uid, member.gid)
    elif member.kind == FILE:
        tree.write(path, b"", member.mode, member.uid, member.gid)
        tree.sizes[path] = member.size
    else:
        tree.special(path, member.kind, member.mode, os.makedev(*member.device))
        tree.own(path, member.mode, member.uid, member.gid)


def _existing(tree: ImageRootfs, targets: Iterable[str]) -> set[str]:
    """Return the paths of the regular files to which ``targets`` lead."""
    found = set()
    steps = Steps()
    for target in targets:
        try:
            resolved = resolve(tree, clean(target), steps)
        except TemplaterError:
            continue  # the planner reports the error about this target
        if resolved.error is None and resolved.entry is not None and resolved.entry.kind == FILE:
            found.add(resolved.real)
    return found


def _read_files(contents: Contents, tree: ImageRootfs, wanted: Collection[str]) -> None:
    """Read the content of files in archive order, up to the memory limit."""
    inodes = {tree.inode(path): path for path in wanted if 0 < tree.sizes.get(path, 0) <= _FILE_BYTES}
    left = _FILES_BYTES
    if not inodes:
        return
    for member, data in contents.rootfs():
        path = "/" + member.name
        if member.kind != FILE or not 0 < member.size <= left or tree.entry(path) is None:
            continue
        if tree.inode(path) not in inodes:
            continue
        content = bytearray(member.size)
        for offset, piece in data:
            content[offset : offset + len(piece)] = piece
        tree.fill(path, bytes(content))
        left -= member.size
