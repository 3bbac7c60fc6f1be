"""Reading of whole images in any format: first metadata.yaml and the templates, then the root filesystem."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from stat import S_IROTH
from typing import Protocol

from ..model.entry import DIRECTORY, FILE
from ..model.errors import InputError, LimitError, RefusedError, UsageError
from ..model.file_names import DISK, METADATA, ROOTFS, TEMPLATES
from ..model.unprintable_characters import printable
from ..parsing.file_kind import SQUASHFS
from ..rootfs.directory_rootfs import open_tree
from .decompress import open_stream
from .directory_members import Data, Tree, Unshift
from .limits import (
    ATTRIBUTE_BYTES,
    DEFAULT,
    Limits,
    memory_of,
    refuse_deep,
)
from .members_outside_rootfs import Layout, refuse_special
from .name_checks import clean_name
from .open_file import OpenFile, close_with, data_bytes, kind_of_file, refuse_holes, refuse_same_file
from .second_file import SecondFileCheck, open_rootfs
from .tar_reader import HARD_LINK, Archive, Member, open_archive
from .tar_writer import stored_bytes

#: files that Incus stores next to the rootfs of an OCI image
_OTHERS = ("config.json",)
_OTHERS_LIMIT = 1 << 20
_SQUASHFS_BLOCK = 128 * 1024
#: memory for a ``Part``, in addition to its name and data
_PART_BYTES = 700


@dataclass(slots=True)
class Part:
    """A member outside the root filesystem, with its data. Such members are small, and are read first."""

    member: Member
    data: bytes = b""


class Contents(Protocol):
    """An image to read completely. Names are cleaned; the root filesystem's top directory is ``""``."""

    name: str
    limits: Limits

    @property
    def packed_size(self) -> int:
        """The number of bytes in the image's files, not counting holes; 0 for a directory."""

    @property
    def disk_size(self) -> int:
        """The disk space in bytes for a unified image's root filesystem, or 0 for other images.

        ``parts`` sets this value.
        """

    @property
    def bytes_read(self) -> int:
        """Decompressed bytes that ``rootfs`` has read so far; 0 for a directory."""

    @property
    def packed_read(self) -> int:
        """Bytes of the image's files that ``rootfs`` has read so far; 0 for a directory."""

    @property
    def has_secrets(self) -> bool:
        """Whether the files read so far may include a private file of root or of templater's user."""

    def parts(self) -> list[Part]:
        """Return metadata.yaml, then templates/ and its files, sorted, then other known files."""

    def rootfs(self) -> Iterator[tuple[Member, Data]]:
        """Yield the members of the root filesystem, with names relative to it, and their data."""


def open_contents(
    path: str,
    rootfs: str | None = None,
    *,
    limits: Limits = DEFAULT,
    latest: int | None = None,
    uid: Unshift = int,
    gid: Unshift = int,
) -> DirectoryContents | UnifiedContents | SplitContents:
    """Open an image to read it completely.

    * ``rootfs``: the second file of a split image
    * ``latest``: the latest modification time, for a directory
    * ``uid`` and ``gid``: functions that map ids on disk to container ids, for a directory

    Raises InputError for a file with large holes (see ``refuse_holes``).
    """
    if os.path.isdir(path):
        if rootfs is not None:
            raise UsageError(f"'{path}' is a directory and can't be combined with a second image file")
        return DirectoryContents(path, limits, latest=latest, uid=uid, gid=gid)
    contents = UnifiedContents(path, limits) if rootfs is None else SplitContents(path, rootfs, limits)
    for file in contents.files:
        refuse_holes(file.fd, file)
    return contents


class DirectoryContents:
    is_private = False
    packed_size = disk_size = bytes_read = packed_read = 0

    def __init__(
        self,
        path: str,
        limits: Limits = DEFAULT,
        *,
        latest: int | None = None,
        uid: Unshift = int,
        gid: Unshift = int,
    ) -> None:
        self.name = path
        self.limits = limits
        self._root = open_tree(path)
        self.tree = Tree(self._root, limits, latest, uid, gid)

    @property
    def has_secrets(self) -> bool:
        return self.tree.has_secrets

    def __del__(self) -> None:
        root = getattr(self, "_root", None)
        if root is not None:
            root.close()

    def parts(self) -> list[Part]:
        if self._root.entry("/" + METADATA) is None:
            raise InputError(f"'{self.name}' has no metadata.yaml: it is not an image")
        parts, total = [], 0
        for part in self._each_part():
            parts.append(part)
            total += _size(part)
            _check_total(total, self.name, self.limits)
        return parts

    def _each_part(self) -> Iterator[Part]:
        yield self._part(METADATA, self.limits.metadata_bytes)
        if self._root.entry("/" + TEMPLATES) is not None:
            for member, _ in self.tree.members("/" + TEMPLATES, TEMPLATES, links=False):
                refuse_special(member, self.name)
                self.tree.held.add(_PART_BYTES, memory_of(member.name))
                limit = self.limits.template_bytes
                yield self._part(member.name, limit) if member.kind != DIRECTORY else Part(_roots(member))
        for name in _OTHERS:
            if self._root.entry("/" + name) is not None:
                yield self._part(name, _OTHERS_LIMIT)

    def rootfs(self) -> Iterator[tuple[Member, Data]]:
        if self._root.entry("/" + ROOTFS) is None:
            hint = (
                "images of virtual machines can't be packed"
                if self._root.entry(f"/{DISK}")
                else "put the container's files in a directory 'rootfs', which may be empty, beside"
                " metadata.yaml"
            )
            raise InputError(f"'{self.name}' has no 'rootfs' directory", hint=hint)
        yield from self.tree.members("/" + ROOTFS, "")

    def data_size(self) -> int:
        """Return the number of bytes in the files of the root filesystem, not counting holes."""
        walk = Tree(self._root, self.limits)
        return sum(stored_bytes(member) for member, _ in walk.members("/" + ROOTFS, ""))

    def _part(self, name: str, limit: int) -> Part:
        data = self._root.read("/" + name, limit, public=True)
        member = self.tree.file("/" + name, name)
        member.kind, member.target, member.size, member.sparse = FILE, "", len(data), None
        return Part(_roots(member), data)


class _Packed:
    """An image stored in archives, with a count of the bytes read from the root filesystem's archive."""

    disk_size = 0
    has_secrets = False
    #: whether other users can't read one of the image's files
    is_private = False

    def __init__(self, path: str, limits: Limits) -> None:
        #: the open files of the image
        self.files: list[OpenFile] = []
        # Each file is opened once, so another user can't replace the file by a private file between two
        # reads.
        file = self._opened(path)
        self.name: str = file
        self.limits = limits
        self.packed_size = max(1, data_bytes(file))
        self._archive: Archive | None = None

    def _opened(self, path: str) -> OpenFile:
        """Open a file that stays open as long as this object exists."""
        file = path if isinstance(path, OpenFile) else OpenFile(path)
        if file is not path:
            close_with(self, file.fd)
        self.files.append(file)
        self.is_private = self.is_private or not os.fstat(file.fd).st_mode & S_IROTH
        return file

    @property
    def bytes_read(self) -> int:
        return 0 if self._archive is None else self._archive.stream.position

    @property
    def packed_read(self) -> int:
        return 0 if self._archive is None else self._archive.stream.packed_position


class UnifiedContents(_Packed):
    """A unified image.

    metadata.yaml and the templates can follow the root filesystem, so the file is read twice.
    """

    def parts(self) -> list[Part]:
        self.disk_size = 0
        return _parts_of(self.name, self.limits, count=self._count)

    def _count(self, member: Member) -> None:
        self.disk_size += member.disk_size

    def rootfs(self) -> Iterator[tuple[Member, Data]]:
        self._archive = archive = open_archive(self.name, self.limits)
        with archive.stream:
            layout = Layout(self.name, self.limits)
            for member in archive:
                name = layout.check(member)
                top, _, rest = name.partition("/")
                if top != ROOTFS:
                    continue
                member.name = rest
                refuse_deep(rest)
                if member.kind == HARD_LINK:
                    member.target = self._inside(member)
                yield member, archive.chunks(member) if member.kind == FILE else iter(())
            archive.finish()
            if not layout.has_rootfs:
                raise InputError(
                    f"'{self.name}' has no root filesystem",
                    hint="for a split image, give both files: the metadata tarball, then the root filesystem",
                )

    def _inside(self, member: Member) -> str:
        top, _, rest = _clean_target(member).partition("/")
        if top != ROOTFS or not rest:
            raise _outside(member)
        return rest


class SplitContents(_Packed):
    def __init__(self, path: str, rootfs: str, limits: Limits = DEFAULT) -> None:
        super().__init__(path, limits)
        self.rootfs_name = self._opened(rootfs)
        refuse_same_file(self.name, self.rootfs_name)
        self.packed_size += data_bytes(self.rootfs_name)

    def parts(self) -> list[Part]:
        return _parts_of(self.name, self.limits, second=self.rootfs_name)

    def rootfs(self) -> Iterator[tuple[Member, Data]]:
        second = SecondFileCheck(self.rootfs_name)
        holes = kind_of_file(self.rootfs_name) == SQUASHFS
        with open_rootfs(self.rootfs_name, self.limits) as archive:
            self._archive = archive
            for member in archive:
                member.name = clean_name(member)
                second.add(member.name)
                refuse_deep(member.name)
                if member.kind == HARD_LINK:
                    member.target = _clean_target(member)
                yield member, _data_of(member, archive, holes=holes)
            archive.finish()
        second.finish()


def _data_of(member: Member, archive: Archive, *, holes: bool) -> Data:
    """Yield a member's data.

    If ``holes`` is true, omit blocks of zeros, because sqfs2tar writes holes as zeros.
    """
    if member.kind != FILE:
        return
    if not holes:
        yield from archive.chunks(member)
        return
    zeros = bytes(_SQUASHFS_BLOCK)
    for offset, data in archive.chunks(member, _SQUASHFS_BLOCK):
        if data != zeros[: len(data)]:
            yield offset, data


def _parts_of(
    path: str, limits: Limits, *, second: str = "", count: Callable[[Member], None] = lambda member: None
) -> list[Part]:
    """Return the members outside ``rootfs/``, and call ``count`` for all other members.

    Read the whole tarball, because members outside ``rootfs/`` can be at any position.
    """
    archive = Archive(open_stream(path, limits))
    layout = Layout(path, limits)
    found: dict[str, Part] = {}
    total = 0
    with archive.stream:
        for member in archive:
            name = layout.check(member)
            top = name.partition("/")[0]
            if top == ROOTFS:
                count(member)
            if name not in (METADATA, *_OTHERS) and top != TEMPLATES:
                continue
            member.name = name
            refuse_special(member, path)
            limit = limits.metadata_bytes if name == METADATA else limits.template_bytes
            limit = _OTHERS_LIMIT if name in _OTHERS else limit
            data = archive.read(member, limit) if member.kind == FILE else b""
            member.size, member.sparse = len(data), None
            found[name] = part = Part(member, data)
            total += _size(part)
            _check_total(total, path, limits)
        archive.finish()
    if METADATA not in found:
        raise layout.no_metadata()
    if second and (layout.has_rootfs or DISK in layout.kinds):
        raise UsageError(
            f"'{path}' already contains a root filesystem, so '{second}' is not part of this image",
            hint="give only the image",
        )
    return [found[name] for name in sorted(found, key=_order)]


def _order(name: str) -> tuple[int, bytes]:
    rank = 0 if name == METADATA else 1 if name.partition("/")[0] == TEMPLATES else 2
    return rank, os.fsencode(name)


def _size(part: Part) -> int:
    """Estimate the memory in bytes that the part's data and extended attributes need."""
    xattrs = part.member.xattrs
    return len(part.data) + ATTRIBUTE_BYTES * len(xattrs) + sum(map(len, (*xattrs, *xattrs.values())))


def _check_total(total: int, image: str, limits: Limits) -> None:
    if total > limits.templates_bytes:
        raise LimitError(f"'{image}': its templates have more than {limits.templates_bytes} bytes")


def _roots(member: Member) -> Member:
    """Set a member's owner to root, as the daemons do, so that the image does not depend on its builder."""
    member.uid = member.gid = 0
    return member


def _clean_target(member: Member) -> str:
    target = member.target
    parts = [part for part in target.split("/") if part not in ("", ".")]
    if target.startswith("/") or ".." in parts or not parts:
        raise _outside(member)
    return "/".join(parts)


def _outside(member: Member) -> RefusedError:
    name, target = printable(member.name), printable(member.target)
    return RefusedError(f"'{name}' is a hard link to '{target}', which is outside the root filesystem")
