"""Tar archives of in-memory root filesystems.

The archives record the owner of each file, even if the caller is not root.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from ..model.entry import DIRECTORY, FILE, SOCKET
from ..model.errors import InputError, WriteError
from ..rootfs.memory_rootfs import MemoryRootfs
from .atomic_output import Output
from .tar_reader import HARD_LINK, Member
from .tar_writer import TarWriter


def save_tar(tree: MemoryRootfs, path: str | os.PathLike[str], *, mtime: int | None = None) -> None:
    """Write the archive of a tree to a file, which is created or replaced atomically.

    Only the owner can read the file. Equal trees give equal bytes. ``mtime`` defaults to
    ``SOURCE_DATE_EPOCH`` or 0.
    """
    place = os.fspath(path)
    with Output(os.path.dirname(place), private=True) as output:
        write_tar(tree, output.write, mtime=mtime)
        output.publish(place, replace=True)


def write_tar(tree: MemoryRootfs, write: Callable[[bytes], object], *, mtime: int | None = None) -> None:
    """Pass the archive of a tree to ``write``, piece by piece. Raises WriteError for a socket."""
    when = _epoch() if mtime is None else mtime
    writer = TarWriter(write)
    first: dict[int, str] = {}
    for path, entry in tree.walk():
        name = path[1:]
        member = Member(name, entry.kind, entry.mode, entry.uid, entry.gid, mtime=when, target=entry.target)
        member.device = (os.major(entry.rdev), os.minor(entry.rdev)) if entry.rdev else (0, 0)
        other = first.setdefault(tree.inode(path), name)
        if entry.kind == SOCKET:
            raise WriteError(f"{path!r} is a socket, which a tar archive can't contain")
        if other != name and entry.kind != DIRECTORY:
            member.kind, member.target = HARD_LINK, other
            writer.add(member)
            continue
        content = tree.read(path, entry.size) if entry.kind == FILE else b""
        member.size = member.stored = len(content)
        writer.add(member, [(0, content)] if content else [])
    writer.close()


def _epoch() -> int:
    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise InputError(f"SOURCE_DATE_EPOCH is {text[:100]!r}, not a number of seconds")
    return int(text)
