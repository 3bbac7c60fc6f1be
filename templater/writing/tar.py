"""A tar archive of a plan's files, with owners, that is written without being root."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..image.archive import HARD_LINK, Member
from ..image.outputs import Output
from ..image.tarwriter import TarWriter
from ..model.entry import DIRECTORY, FILE, SOCKET
from ..model.errors import InputError, WriteError
from ..rootfs.memory import MemoryRootfs
from ..rootfs.paths import components

if TYPE_CHECKING:
    from ..model.plan import Change


class TarDestination:
    """An archive in the making: ``carry_out`` changes, then ``save``."""

    def __init__(self, tree: MemoryRootfs | None = None) -> None:
        self.tree = MemoryRootfs() if tree is None else tree

    def carry_out(self, change: Change) -> None:
        """Write one change; make every missing parent, because the plan knows no root filesystem."""
        parent = ""
        for name in components(change.real)[:-1]:
            parent += "/" + name
            if self.tree.entry(parent) is None:
                self.tree.mkdir(parent)
        self.tree.write(change.real, change.content or b"", change.mode, change.uid, change.gid)

    def save(self, path: str | os.PathLike[str], *, mtime: int | None = None) -> None:
        """Write the archive. Equal files give equal bytes: times are ``SOURCE_DATE_EPOCH``, or 0."""
        place = os.fspath(path)
        with Output(os.path.dirname(place)) as output:
            self.write_to(output.write, mtime=mtime)
            output.publish(place, replace=True)

    def write_to(self, write: Callable[[bytes], object], *, mtime: int | None = None) -> None:
        when = _epoch() if mtime is None else mtime
        writer = TarWriter(write)
        first: dict[int, str] = {}
        for path, entry in self.tree.walk():
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
            content = self.tree.read(path, entry.size) if entry.kind == FILE else b""
            member.size = member.stored = len(content)
            writer.add(member, [(0, content)] if content else [])
        writer.close()


def _epoch() -> int:
    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"SOURCE_DATE_EPOCH is {text!r}, not a number of seconds")
    return int(text)
