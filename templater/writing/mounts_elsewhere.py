"""A check of ``apply``: no running container has mounted another file over a file that would be replaced.

If a process of another mount namespace has mounted something over a file, and the file is replaced, then the
kernel removes this mount without an error. podman and docker, for example, mount a file over ``/etc/hosts``.
Hooks run before the container's mounts exist, so only ``apply`` needs this check.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
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

    def check(change: Change) -> None:
        nonlocal found
        if change.action != UPDATE or change.in_place:
            return
        if found is None:
            found = places_of_mounts(names)
        process = found.get(_place(change.real, root)) if found else None
        if process is not None:
            raise RefusedError(
                f"a running container has mounted another file over '{printable(change.path)}'"
                f" (process {process}), and the kernel would remove this mount",
                hint="stop the container, then run apply again",
            )

    return check


def _place(path: str, root: Root) -> Place:
    with root.directory(above(path)) as directory:
        parent = os.fsencode(os.readlink(f"/proc/self/fd/{directory.fd}"))
        mount = _parsed(_table("self")).get(b"%d" % mount_id(directory.fd))
    if mount is None:  # the process can't read its own table
        return b"", b""
    return mount.place(parent.rstrip(b"/") + b"/" + os.fsencode(path.rpartition("/")[2]))


def places_of_mounts(names: Collection[bytes]) -> dict[Place, str]:
    """Return the places over which processes have mounted something, with the ids of these processes.

    Only places whose last name is in ``names`` are returned. The mount namespace of this process is left out.
    """
    found: dict[Place, str] = {}
    for process in _other_namespaces():
        table = _table(process)
        ends = [b"/" + _escaped(name) + b" " for name in names]
        if any(end in table for end in ends):
            mounts = _parsed(table)
            for mount in mounts.values():
                parent = mounts.get(mount.parent)
                if mount.point.rpartition(b"/")[2] in names and parent is not None:
                    found[parent.place(mount.point)] = process
    return found


def _other_namespaces() -> Iterator[str]:
    """Yield one process of each other mount namespace."""
    own = _namespace("self")
    if not own:  # a system without mount namespaces
        return
    seen = {own, 0}
    for process in os.listdir("/proc"):
        if process.isdecimal():
            namespace = _namespace(process)
            if namespace not in seen:
                seen.add(namespace)
                yield process


def _namespace(process: str) -> int:
    """Return the number of a process's mount namespace, or 0 if it can't be read."""
    try:
        return os.stat(f"/proc/{process}/ns/mnt").st_ino
    except OSError:
        return 0


def _table(process: str) -> bytes:
    try:
        with open(f"/proc/{process}/mountinfo", "rb") as file:
            return file.read(MAX_TABLE)
    except OSError:  # the process has ended
        return b""


def _parsed(table: bytes) -> dict[bytes, Mount]:
    """Return the mounts of a table by their ids. A line that was read only in part is left out."""
    lines = [line.split(b" ", 5) for line in table.split(b"\n")]
    return {
        number: Mount(device, unescaped(top), unescaped(point), parent)
        for number, parent, device, top, point, _ in (line for line in lines if len(line) == 6)
    }


def _escaped(name: bytes) -> bytes:
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes((byte,)) for byte in name)
