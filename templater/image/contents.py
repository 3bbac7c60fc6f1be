"""Images as two streams of members, whatever they are stored as, for all who read one whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ..model.entry import DIRECTORY, FILE
from ..model.errors import InputError, LimitError, RefusedError, UsageError, reason
from ..model.source import printable
from ..parsing.file_kind import HEAD, SQUASHFS, recognise
from ..rootfs.confined import Root
from ..sandbox import program
from .archive import HARD_LINK, Archive, Member, clean_name, open_archive
from .compression import ByteStream, open_stream
from .layout import Layout
from .limits import DEFAULT, Limits, refuse_deep
from .names import METADATA, ROOTFS, TEMPLATES
from .tree import Data, Tree, Unshift

#: what an OCI image keeps beside its rootfs in Incus
_OTHERS = ("config.json",)
_SQUASHFS_BLOCK = 128 * 1024


@dataclass(slots=True)
class Part:
    """One member outside the root filesystem, data included: they are small, and read before the rest."""

    member: Member
    data: bytes = b""


class Contents(Protocol):
    """An image to be read whole. Names are clean; the root filesystem's own top is ``""``."""

    name: str

    def parts(self) -> list[Part]:
        """metadata.yaml, then templates/ and what is in it, sorted."""

    def rootfs(self) -> Iterator[tuple[Member, Data]]:
        """The members of the root filesystem, names relative to it."""


def open_contents(
    path: str,
    rootfs: str | None = None,
    *,
    limits: Limits = DEFAULT,
    latest: int | None = None,
    uid: Unshift = int,
    gid: Unshift = int,
) -> DirectoryContents | UnifiedContents | SplitContents:
    """``rootfs`` is the second file of a split image. Ids and times are changed for directories only."""
    if os.path.isdir(path):
        if rootfs is not None:
            raise UsageError(f"'{path}' is a directory: it has no second file")
        return DirectoryContents(path, limits, latest=latest, uid=uid, gid=gid)
    return UnifiedContents(path, limits) if rootfs is None else SplitContents(path, rootfs, limits)


class DirectoryContents:
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
        self._root = Root(path)
        self.tree = Tree(self._root, latest, uid, gid)

    def __del__(self) -> None:
        root = getattr(self, "_root", None)
        if root is not None:
            root.close()

    def parts(self) -> list[Part]:
        if self._root.entry("/" + METADATA) is None:
            raise InputError(f"'{self.name}' has no metadata.yaml: it is no image")
        parts = [self._part(METADATA, self.limits.metadata_bytes)]
        if self._root.entry("/" + TEMPLATES) is not None:
            for member, _ in self.tree.members("/" + TEMPLATES, TEMPLATES, links=False):
                refuse_special(member, self.name)
                limit = self.limits.template_bytes
                parts.append(
                    self._part(member.name, limit) if member.kind != DIRECTORY else Part(_roots(member))
                )
        parts += [self._part(name, 1 << 20) for name in _OTHERS if self._root.entry("/" + name) is not None]
        _check_total(sum(len(part.data) for part in parts), self.name, self.limits)
        return parts

    def rootfs(self) -> Iterator[tuple[Member, Data]]:
        if self._root.entry("/" + ROOTFS) is None:
            hint = (
                "virtual machine images are not packed"
                if self._root.entry("/rootfs.img")
                else "an image has its files in a directory 'rootfs' beside metadata.yaml; it may be empty"
            )
            raise InputError(f"'{self.name}' has no 'rootfs' directory", hint=hint)
        yield from self.tree.members("/" + ROOTFS, "")

    def _part(self, name: str, limit: int) -> Part:
        data = self._root.read("/" + name, limit)
        member = self.tree.file("/" + name, name)
        member.kind, member.target, member.size, member.sparse = FILE, "", len(data), None
        return Part(_roots(member), data)


class UnifiedContents:
    """Passes over the file twice: the parts may come behind the root filesystem."""

    def __init__(self, path: str, limits: Limits = DEFAULT) -> None:
        self.name = path
        self.limits = limits

    def parts(self) -> list[Part]:
        return _parts_of(self.name, self.limits)

    def rootfs(self) -> Iterator[tuple[Member, Data]]:
        archive = open_archive(self.name, self.limits)
        with archive.stream:
            layout = Layout(self.name)
            for member in archive:
                name = layout.see(member)
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
                    hint="of a split image, give both files: the metadata tarball, then the root filesystem",
                )

    def _inside(self, member: Member) -> str:
        top, _, rest = _clean_target(member).partition("/")
        if top != ROOTFS or not rest:
            raise _outside(member)
        return rest


def refuse_whole_image(path: str, tops: set[str]) -> None:
    """A root filesystem with both of these at its top is an image in the place of one's second file."""
    if {METADATA, ROOTFS} <= tops:
        raise UsageError(
            f"'{path}' is an image by itself, not the root filesystem of another",
            hint="give it alone, or the split image's own second file",
        )


def refuse_same_file(path: str, rootfs: str) -> None:
    """The metadata tarball twice would pass for a split image, with a fingerprint that no daemon shows."""
    try:
        same = os.path.samefile(path, rootfs)
    except OSError:
        return  # opening it says why
    if same:
        raise UsageError(
            f"'{rootfs}' is '{path}' itself, not a root filesystem",
            hint="a split image has two files: give the second, or the first alone",
        )


class SplitContents:
    def __init__(self, path: str, rootfs: str, limits: Limits = DEFAULT) -> None:
        refuse_same_file(path, rootfs)
        self.name = path
        self.rootfs_name = rootfs
        self.limits = limits

    def parts(self) -> list[Part]:
        return _parts_of(self.name, self.limits, second=self.rootfs_name)

    def rootfs(self) -> Iterator[tuple[Member, Data]]:
        tops: set[str] = set()
        holes = kind_of_file(self.rootfs_name) == SQUASHFS
        with open_rootfs(self.rootfs_name, self.limits) as archive:
            for member in archive:
                member.name = clean_name(member)
                tops.add(member.name.partition("/")[0])
                refuse_deep(member.name)
                if member.kind == HARD_LINK:
                    member.target = _clean_target(member)
                yield member, _data_of(member, archive, holes=holes)
            archive.finish()
        refuse_whole_image(self.rootfs_name, tops)


def _data_of(member: Member, archive: Archive, *, holes: bool) -> Data:
    """``holes``: blocks of zeros come as nothing, since sqfs2tar writes the holes of a squashfs file out."""
    if member.kind != FILE:
        return
    if not holes:
        yield from archive.chunks(member)
        return
    zeros = bytes(_SQUASHFS_BLOCK)
    for offset, data in archive.chunks(member, _SQUASHFS_BLOCK):
        if data != zeros[: len(data)]:
            yield offset, data


@contextlib.contextmanager
def open_rootfs(path: str, limits: Limits = DEFAULT) -> Iterator[Archive]:
    """The second file of a split image as an archive: a tarball, or squashfs through sqfs2tar."""
    if kind_of_file(path) != SQUASHFS:
        archive = open_archive(path, limits)
        with archive.stream:
            yield archive
        return
    with _sqfs2tar(path) as reader:
        try:
            with ByteStream(path, os.dup(reader.output), limits) as stream:
                yield Archive(stream)
            code = reader.wait()
        except BlockingIOError:
            silence = program.IDLE_SECONDS
            raise LimitError(f"'{path}': sqfs2tar was silent for {silence} s and was ended") from None
        except InputError as error:
            said = printable(reader.said())
            raise (InputError(f"'{path}' can't be read: {said}") if said else error) from error
        if code:
            raise program.why(path, "sqfs2tar", code, printable(reader.said()))


def _sqfs2tar(path: str) -> program.Program:
    try:
        return program.start(["sqfs2tar", "--no-skip", "--root-becomes", ".", program.INPUT], path)
    except FileNotFoundError:
        raise InputError(
            f"'{path}' is a squashfs file, and reading one needs the program 'sqfs2tar'",
            hint="install it: apt install squashfs-tools-ng",
        ) from None


def kind_of_file(path: str) -> str:
    """What a file is by its first bytes."""
    try:
        with open(path, "rb") as file:
            return recognise(file.read(HEAD))
    except OSError as error:
        raise InputError(f"'{path}' can't be opened: {reason(error)}") from error


def _parts_of(path: str, limits: Limits, *, second: str = "") -> list[Part]:
    """Everything outside ``rootfs/``, the tarball read to its end: what comes last would count."""
    archive = Archive(open_stream(path, limits))
    layout = Layout(path)
    found: dict[str, Part] = {}
    total = 0
    with archive.stream:
        for member in archive:
            name = layout.see(member)
            top = name.partition("/")[0]
            if name not in (METADATA, *_OTHERS) and top != TEMPLATES:
                continue
            member.name = name
            refuse_special(member, path)
            limit = limits.metadata_bytes if name == METADATA else limits.template_bytes
            data = archive.read(member, limit) if member.kind == FILE else b""
            member.size, member.sparse = len(data), None
            found[name] = Part(member, data)
            total += len(data)
            _check_total(total, path, limits)
        archive.finish()
    if METADATA not in found:
        raise layout.no_metadata()
    if second and (layout.has_rootfs or "rootfs.img" in layout.kinds):
        raise UsageError(
            f"'{path}' holds a root filesystem: '{second}' is not part of it", hint="give the image alone"
        )
    return [found[name] for name in sorted(found, key=_order)]


def refuse_special(member: Member, image: str) -> None:
    """Outside the root filesystem there are files and directories, and nothing else."""
    if member.kind not in (FILE, DIRECTORY):
        raise RefusedError(f"'{image}': '{printable(member.name)}' is a {member.kind}, not a regular file")
    top, _, rest = member.name.partition("/")
    if top == TEMPLATES and rest and (member.kind == DIRECTORY or "/" in rest):
        what = "is" if member.kind == DIRECTORY else "lies in"
        raise RefusedError(
            f"'{image}': '{printable(member.name)}' {what} a directory among the templates",
            hint="templates are plain files of one folder: the daemons find no others",
        )


def _order(name: str) -> tuple[int, bytes]:
    rank = 0 if name == METADATA else 1 if name.partition("/")[0] == TEMPLATES else 2
    return rank, os.fsencode(name)


def _check_total(total: int, image: str, limits: Limits) -> None:
    if total > limits.templates_bytes:
        raise LimitError(f"'{image}': its templates have more than {limits.templates_bytes} bytes")


def _roots(member: Member) -> Member:
    """The daemons keep these as root; who owned the author's checkout is nobody's business."""
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
    return RefusedError(f"'{name}' is a hard link to '{target}', outside the root filesystem")
