"""A root filesystem as a tar archive: to look into, or to build with owners and without being root."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..image.archive import HARD_LINK, Archive, Member, clean_name, open_archive
from ..image.limits import DEFAULT, Limits
from ..image.outputs import Output
from ..image.tarwriter import TarWriter
from ..model.entry import DIRECTORY, FILE, SOCKET, SYMLINK, Entry
from ..model.errors import InputError, LimitError, RefusedError, WriteError
from ..rootfs.memory import MemoryRootfs
from ..rootfs.paths import components

if TYPE_CHECKING:
    from ..model.plan import Change

#: contents up to this size are kept when an archive is opened; larger ones are read again when asked for
_KEPT = 64 * 1024


class TarRootfs:
    """A ``RootfsView`` of an archive, or a new one: ``carry_out`` changes, then ``save``.

    ``TarRootfs.open(path, "rootfs")`` looks at what lies below ``rootfs/`` of an image. A member that
    comes twice counts as it would after unpacking: the last one. One that would be unpacked through
    a symlink, or a hard link to something that is not in the archive, is refused.
    """

    def __init__(self) -> None:
        self.tree = MemoryRootfs()
        self._source: Callable[[], Archive] | None = None
        self._large: dict[str, str] = {}
        self._sizes: dict[str, int] = {}

    @classmethod
    def open(cls, path: str | os.PathLike[str], below: str = "", limits: Limits = DEFAULT) -> TarRootfs:
        rootfs = cls()
        rootfs._source = lambda: open_archive(os.fspath(path), limits)
        archive = rootfs._source()
        with archive.stream:
            for member in archive:
                inside = _inside(clean_name(member), below)
                if inside is not None:
                    rootfs._take(archive, member, inside, below)
        return rootfs

    def entry(self, path: str) -> Entry | None:
        found = self.tree.entry(path)
        if found is not None and path in self._sizes:
            found.size = self._sizes[path]
        return found

    def read(self, path: str, limit: int) -> bytes:
        content = self.tree.read(path, limit)
        member = self._large.get(path)
        if member is None:
            return content
        if self._sizes[path] > limit:
            raise LimitError(f"{path!r} is larger than {limit} bytes")
        return self._read_again(member)

    def listdir(self, path: str) -> list[str]:
        return self.tree.listdir(path)

    def walk(self, path: str = "/") -> Iterator[tuple[str, Entry]]:
        """Every name below a directory and what it is, parents first, sorted."""
        for below, _ in self.tree.walk(path):
            entry = self.entry(below)
            assert entry is not None
            yield below, entry

    # building

    def carry_out(self, change: Change) -> None:
        """What ``apply`` would do on disk for one writing change.

        With no root filesystem known, a change doesn't say which directories are new: all that are
        missing are made.
        """
        parent = ""
        for name in components(change.real)[:-1]:
            parent += "/" + name
            if self.tree.entry(parent) is None:
                self.tree.make_parent(parent)
        self._forget(change.real)
        self.tree.write(change.real, change.content or b"", change.mode, change.uid, change.gid)

    def save(self, path: str | os.PathLike[str], *, mtime: int | None = None) -> None:
        """Write the archive; equal files give equal bytes (times are ``SOURCE_DATE_EPOCH``, or 0)."""
        place = os.fspath(path)
        with Output(os.path.dirname(place)) as output:
            self.write_to(output.write, mtime=mtime)
            output.publish(place, replace=True)

    def data(self, *, mtime: int | None = None) -> bytes:
        buffer = io.BytesIO()
        self.write_to(buffer.write, mtime=mtime)
        return buffer.getvalue()

    def write_to(self, write: Callable[[bytes], object], *, mtime: int | None = None) -> None:
        when = _epoch() if mtime is None else mtime
        writer = TarWriter(write)
        first: dict[int, str] = {}
        for path, entry in self.walk():
            name = path[1:]
            member = Member(
                name, entry.kind, entry.mode, entry.uid, entry.gid, mtime=when, target=entry.target
            )
            member.device = (os.major(entry.rdev), os.minor(entry.rdev)) if entry.rdev else (0, 0)
            other = first.setdefault(self.tree.inode(path), name)
            if entry.kind == SOCKET:
                raise WriteError(f"{path!r} is a socket, which no tar archive can hold")
            if other != name and entry.kind != DIRECTORY:
                member.kind, member.target = HARD_LINK, other
                writer.add(member)
                continue
            content = self.read(path, entry.size) if entry.kind == FILE else b""
            member.size = member.stored = len(content)
            writer.add(member, [(0, content)] if content else [])
        writer.close()

    # reading

    def _take(self, archive: Archive, member: Member, path: str, below: str) -> None:
        if path == "/":
            if member.kind != DIRECTORY:
                raise RefusedError(f"{member.name!r} is a {member.kind}, not a directory")
            self.tree.own("/", member.mode, member.uid, member.gid)
            return
        self._make_parents(path)
        here = self.tree.entry(path)
        if here is not None and here.kind == DIRECTORY and member.kind == DIRECTORY:
            self.tree.own(path, member.mode, member.uid, member.gid)
            return
        if here is not None:
            self._forget(path)
            self.tree.remove(path)
        if member.kind == HARD_LINK:
            self._link(member, path, below)
        elif member.kind == FILE:
            self._take_file(archive, member, path)
        elif member.kind == DIRECTORY:
            self.tree.mkdir(path, member.mode, member.uid, member.gid)
        elif member.kind == SYMLINK:
            self.tree.symlink(path, member.target)
            self.tree.own(path, 0o777, member.uid, member.gid)
        else:
            self.tree.special(path, member.kind, member.mode, os.makedev(*member.device))
            self.tree.own(path, member.mode, member.uid, member.gid)

    def _take_file(self, archive: Archive, member: Member, path: str) -> None:
        small = member.size <= _KEPT
        content = archive.read(member, _KEPT) if small else b""
        self.tree.write(path, content, member.mode, member.uid, member.gid)
        if not small:
            self._large[path] = member.name
            self._sizes[path] = member.size

    def _link(self, member: Member, path: str, below: str) -> None:
        target = _inside(clean_name(Member(member.target, FILE)), below)
        found = None if target is None else self.tree.entry(target)
        if target is None or found is None or found.kind == DIRECTORY:
            raise RefusedError(
                f"{member.name!r} is a hard link to {member.target!r}, which is not in the archive"
            )
        self.tree.link(target, path)
        if target in self._large:
            self._large[path], self._sizes[path] = self._large[target], self._sizes[target]

    def _make_parents(self, path: str) -> None:
        parent = ""
        for name in components(path)[:-1]:
            parent += "/" + name
            here = self.tree.entry(parent)
            if here is None:
                self.tree.mkdir(parent)
            elif here.kind != DIRECTORY:
                raise RefusedError(f"{path!r} lies below {parent!r}, which is a {here.kind}")

    def _forget(self, path: str) -> None:
        for place in [place for place in self._large if place == path or place.startswith(path + "/")]:
            del self._large[place], self._sizes[place]

    def _read_again(self, name: str) -> bytes:
        """The last member of that name."""
        assert self._source is not None
        content: bytes | None = None
        archive = self._source()
        with archive.stream:
            for member in archive:
                if member.name == name and member.kind == FILE:
                    content = archive.read(member, member.size)
        if content is None:
            raise InputError(f"{name!r} is not in the archive any more")
        return content


def _inside(name: str, below: str) -> str | None:
    """A member's place as a path of the root filesystem; None for what lies beside it."""
    if not below:
        return "/" + name
    if name == below:
        return "/"
    return "/" + name[len(below) + 1 :] if name.startswith(below + "/") else None


def _epoch() -> int:
    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"SOURCE_DATE_EPOCH is {text!r}, not a number of seconds")
    return int(text)
