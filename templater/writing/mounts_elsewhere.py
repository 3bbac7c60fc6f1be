"""A check of ``apply``: no running container has mounted another file over a file that would be replaced.

If a process of another mount namespace has mounted something over a file, and the file is replaced, then the
kernel removes this mount without an error. podman and docker, for example, mount a file over ``/etc/hosts``.
Hooks run before the container's mounts exist, so only ``apply`` needs this check.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import chain
from time import process_time
from typing import TYPE_CHECKING

from ..model.errors import RefusedError
from ..model.plan import UPDATE
from ..model.source import printable
from ..rootfs.confined_root import Root
from ..rootfs.disk_sync import unescaped
from ..rootfs.resolve_beneath import mount_id
from .remove_leftovers import above

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from ..model.plan import Change, Plan

    #: a device as in mountinfo, and the path of a file on the file system of this device
    Place = tuple[bytes, bytes]

#: the maximum size in bytes of one process's table of mounts; the rest of a larger table is ignored
MAX_TABLE = 16 << 20
#: The maximum processor time in seconds to read one table. A user can stack mounts: the kernel then needs a
#: time that grows with the square of their number. The user's other tables are ignored.
MOST_SECONDS = 1.0
#: the bytes that one system call reads, so that the limits on time have an effect between two calls
PIECE = 4096


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of mountinfo. ``top`` is the mounted directory or file, as a path on its file system."""

    device: bytes
    top: bytes
    point: bytes
    parent: bytes

    def place(self, path: bytes) -> Place:
        """Return the device and the path on its file system, for a path at or below the mount point."""
        return self.device, self.top.rstrip(b"/") + path[len(self.point.rstrip(b"/")) :]


def refuse_mounted(plan: Plan, root: Root) -> Callable[[Change], None]:
    """Return a function that ``apply`` calls for each change, shortly before it writes the file.

    The function raises RefusedError if a process of another mount namespace has mounted something over the
    file. The processes are searched once, at the first change that replaces a file. Only root sees the mounts
    of other users' processes. Mount namespaces without a process are not seen.
    """
    names = {os.fsencode(each.real.rpartition("/")[2]) for each in plan.changes if each.action == UPDATE}
    found: dict[Place, str] | None = None
    own: dict[bytes, Mount] = {}

    def check(change: Change) -> None:
        nonlocal found
        if change.action != UPDATE or change.in_place:
            return
        if found is None:
            found = places_of_mounts(names)
        process = found.get(_place(change.real, root, own)) if found else None
        if process is not None:
            raise RefusedError(
                f"a running container has mounted another file over '{printable(change.path)}'"
                f" (process {process}), and the kernel would remove this mount",
                hint="stop the container, then run apply again",
            )

    return check


def _place(path: str, root: Root, own: dict[bytes, Mount]) -> Place:
    """Return the place of a file. ``own`` has the mounts of this process, once they are read."""
    with root.directory(above(path)) as directory:
        parent = os.fsencode(os.readlink(f"/proc/self/fd/{directory.fd}"))
        number = b"%d" % mount_id(directory.fd)
    if number not in own:
        own.update(_parsed(_table("self")[0]))
    mount = own.get(number)
    if mount is None:  # the process can't read its own table
        return b"", b""
    return mount.place(parent.rstrip(b"/") + b"/" + os.fsencode(path.rpartition("/")[2]))


def places_of_mounts(names: Collection[bytes]) -> dict[Place, str]:
    """Return the places over which processes have mounted something, with the ids of these processes.

    Only places whose last name is in ``names`` are returned. The mount namespace of this process is left out.
    """
    found: dict[Place, str] = {}
    slow: set[bytes] = set()
    for process in _other_namespaces():
        user = _user(process)
        if user in slow:
            continue
        table, is_slow = _table(process)
        if is_slow and user != b"0":
            slow.add(user)
        ends = [b"/" + _escaped(name) + b" " for name in names]
        if any(end in table for end in ends):
            mounts = _parsed(table)
            for mount in mounts.values():
                parent = mounts.get(mount.parent)
                if mount.point.rpartition(b"/")[2] in names and parent is not None:
                    found[parent.place(mount.point)] = process.partition("/")[0]
    return found


def _other_namespaces() -> Iterator[str]:
    """Yield one process or thread for each root directory in each other mount namespace.

    A table has only the mounts below the root directory of its process.
    """
    own = _namespace("self")
    if own is None:  # a system without mount namespaces
        return
    seen = set()
    for process in os.listdir("/proc"):
        if process.isdecimal():
            for each in chain((process,), _threads(process)):
                found = _namespace(each)
                if found is not None and found[0] != own[0] and found not in seen:
                    seen.add(found)
                    yield each
                if found is not None:
                    break


def _threads(process: str) -> Iterator[str]:
    """Yield the threads of a process. If its first thread has ended, the process itself shows no mounts."""
    try:
        for thread in os.listdir(f"/proc/{process}/task"):
            yield f"{process}/task/{thread}"
    except OSError:  # the process has ended
        return


def _namespace(process: str) -> tuple[int, int, int] | None:
    """Return a process's mount namespace and root directory, or None if they can't be read."""
    try:
        root = os.stat(f"/proc/{process}/root")
        return os.stat(f"/proc/{process}/ns/mnt").st_ino, root.st_dev, root.st_ino
    except OSError:
        return None


def _user(process: str) -> bytes:
    """Return the uid of a process. The owner of its directory in /proc can be another user."""
    try:
        with open(f"/proc/{process}/status", "rb") as file:
            return file.read().partition(b"\nUid:\t")[2].partition(b"\t")[0]
    except OSError:  # the process has ended
        return b""


def _table(process: str) -> tuple[bytes, bool]:
    """Return a process's table of mounts, and whether its rest was left out because it took too long."""
    table = bytearray()
    end = process_time() + MOST_SECONDS
    try:
        with open(f"/proc/{process}/mountinfo", "rb", buffering=0) as file:
            while piece := file.read(min(PIECE, MAX_TABLE - len(table))):
                table += piece
                if process_time() > end:
                    return bytes(table), True
    except OSError:  # the process has ended
        pass
    return bytes(table), False


def _parsed(table: bytes) -> dict[bytes, Mount]:
    """Return the mounts of a table by their ids. A line that was read only in part is left out."""
    lines = [line.split(b" ", 5) for line in table.split(b"\n")]
    return {
        number: Mount(device, unescaped(top), unescaped(point), parent)
        for number, parent, device, top, point, _ in (line for line in lines if len(line) == 6)
    }


def _escaped(name: bytes) -> bytes:
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes((byte,)) for byte in name)
