"""A check of ``apply``: no running container has mounted anything over a file that would be replaced.

For example, podman and docker mount a file over ``/etc/hosts``. Replacing the file below such a mount would
remove the mount without an error. Hooks do not need this check, because they run before the container's
mounts exist.
"""

from __future__ import annotations

import os
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache, partial
from select import POLLIN, poll
from signal import SIGKILL
from struct import Struct
from typing import TYPE_CHECKING

from ..model.errors import RefusedError
from ..model.plan import UPDATE
from ..model.unprintable_characters import printable
from ..rootfs.confined_root import Root
from ..rootfs.disk_sync import unescaped
from ..rootfs.resolve_beneath import mount_id
from .remove_leftovers import above

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from ..model.plan import Change, Plan

    #: a device as in mountinfo, and the path of a file on the device's file system
    Place = tuple[bytes, bytes]

#: the maximum size in bytes of one process's table of mounts
MAX_TABLE = 16 << 20

#: The maximum processor time, and the maximum waiting time, in seconds for the tables of all other mount
#: namespaces. Any user can mount so many file systems on one directory that the kernel needs minutes for the
#: table, or for a single read of it.
MAX_SECONDS, MAX_WAIT = 2.0, 10.0
#: the number of tables that take too long. Each of them needs another process, which may not end soon.
MOST_INCOMPLETE = 16

#: the length of a piece of a text, as the reading process sends it before the piece; 0 ends the text
_HEAD = Struct("I")


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of mountinfo. ``top`` is the mounted directory or file, as a path on its file system."""

    device: bytes
    top: bytes
    point: bytes
    parent: bytes

    def place(self, path: bytes) -> Place:
        """Return the device of a path at or below the mount point, and the path on this device."""
        return self.device, self.top.rstrip(b"/") + path[len(self.point.rstrip(b"/")) :]


def refuse_mounted(plan: Plan, root: Root, note: Callable[[str], None]) -> Callable[[Change], None]:
    """Return a function that ``apply`` calls for each change, shortly before writing the file.

    * It raises RefusedError if a process of another mount namespace has mounted something over the file.
    * It calls the function ``note`` with a message if it could read a mount table only in part.
    """
    names = {os.fsencode(each.real.rpartition("/")[2]) for each in plan.changes if each.action == UPDATE}

    # Only root sees the mounts of other users' processes. The search misses mount namespaces without a
    # process, and mounts outside of the root directories of all processes.
    @cache
    def search() -> tuple[dict[Place, str], dict[bytes, Mount]]:
        found, incomplete = places_of_mounts(names)
        if incomplete:  # with an error instead, any user could make every ``apply`` of root fail
            where = f"the mounts of process {incomplete[0]}" if incomplete[0] else "all root directories"
            note(
                f"reading {where} takes too long: apply does not see all mounts of"
                f" {len(incomplete)} other mount namespace{'s' * (len(incomplete) > 1)}"
            )
        return found, _parsed(_lines(b"".join(_pieces("/proc/self")))) if found else {}

    def check(change: Change) -> None:
        if change.action != UPDATE or change.in_place:
            return
        found, own = search()
        process = found.get(_place(change.real, root, own)) if found else None
        if process is not None:
            raise RefusedError(
                f"a running container has mounted another file over '{printable(change.path)}'"
                f" (process {process}); replacing the file under this mount would remove the mount",
                hint="stop the container, then run apply again",
            )

    return check


def _place(path: str, root: Root, own: Mapping[bytes, Mount]) -> Place:
    with root.directory(above(path)) as directory:
        parent = os.fsencode(os.readlink(f"/proc/self/fd/{directory.fd}"))
        mount = own.get(b"%d" % mount_id(directory.fd))
    if mount is None:  # the process can't read its own table
        return b"", b""
    return mount.place(parent.rstrip(b"/") + b"/" + os.fsencode(path.rpartition("/")[2]))


def places_of_mounts(names: Collection[bytes]) -> tuple[dict[Place, str], list[str]]:
    """Return the places over which processes of other mount namespaces have mounted something.

    * The dict maps each place to a process that has a mount there. It has only paths whose last component is
      in ``names``.
    * The list has the processes whose mount tables were not read completely, and "" if the search for threads
      ended early.
    """
    found: dict[Place, str] = {}
    end = time.monotonic() + MAX_WAIT
    with closing(_Reader(lambda: [_listed_threads()], end)) as reader:
        listing, is_complete = reader.read(MAX_SECONDS / 2)
    left = MAX_SECONDS - reader.used
    incomplete = [] if is_complete else [""]
    threads = [line.split(" ") for line in listing.decode().splitlines()]
    ends = {_escaped(name) for name in names}
    try:
        for number, (process, _) in enumerate(threads):
            if left <= 0 or time.monotonic() > end or len(incomplete) > MOST_INCOMPLETE:
                incomplete += [process for process, _ in threads[number:]]
                break
            start = time.process_time()
            if not reader.pid:
                reader = _Reader(partial(_tables, threads[number:]), end)
            # With equal shares, one user's long tables don't use up the time for another user's tables.
            table, is_complete = reader.read(left / (len(threads) - number))
            if not is_complete:
                reader.close()
                incomplete.append(process)
            lines = _lines(table)
            if any(point.rpartition(b"/")[2] in ends for *_, point, _ in lines):
                mounts = _parsed(lines)
                for mount in mounts.values():
                    parent = mounts.get(mount.parent)
                    if mount.point.rpartition(b"/")[2] in names and parent is not None:
                        found[parent.place(mount.point)] = process
            left -= time.process_time() - start + reader.used
    finally:
        reader.close()
    return found, incomplete


class _Reader:
    """A child process that reads facts about other processes, such as mount tables, for this process.

    This process kills the child at a time limit.
    """

    # No signal ends a slow read of a mount table, so this process does not read the tables itself.

    def __init__(self, texts: Callable[[], Iterable[Iterable[bytes]]], end: float) -> None:
        """Start the child process, which calls ``texts`` and sends the pieces of each text.

        ``end`` is the time after which this process receives no more pieces.
        """
        self.end = end
        self.buffer = bytearray()
        #: the processor time in seconds for the last text
        self.used = 0.0
        self.fd, out = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(out)
            self.pieces = poll()  # select.select accepts no descriptor above 1,023
            self.pieces.register(self.fd, POLLIN)
            return
        try:
            # close all other files, so that no program waits for this process, which may end much later
            highest = max(map(int, os.listdir("/proc/self/fd")))
            os.closerange(0, out)
            os.closerange(out + 1, highest + 1)
            for text in texts():
                for piece in text:
                    os.write(out, _HEAD.pack(len(piece)) + piece)
                os.write(out, _HEAD.pack(0))
        finally:
            os._exit(0)

    def close(self) -> None:
        if self.pid:
            os.close(self.fd)
            with suppress(ChildProcessError):  # SIGCHLD is ignored, and the process has ended
                if os.waitpid(self.pid, os.WNOHANG)[0] == 0:
                    os.kill(self.pid, SIGKILL)  # the child ends when its read ends
                    os.waitpid(self.pid, os.WNOHANG)
            self.pid = 0

    def read(self, seconds: float) -> tuple[bytes, bool]:
        """Return the next text, and whether the text is complete.

        Stop when the child process has used ``seconds`` of processor time for this text.
        """
        start, text = _processor_time(self.pid), bytearray()
        while True:
            length = self._receive(_HEAD.size, start + seconds)
            piece = length and self._receive(_HEAD.unpack(length)[0], start + seconds)
            self.used = max(_processor_time(self.pid) - start, 0.0)
            if piece is None or length is None or len(text) + len(piece) > MAX_TABLE:
                return bytes(text), False
            if not piece:
                return bytes(text), True
            text += piece

    def _receive(self, size: int, end: float) -> bytes | None:
        """Return ``size`` bytes from the child process, or None if it has ended or reached a time limit.

        ``end`` limits the child's processor time.
        """
        while len(self.buffer) < size:
            if time.monotonic() > self.end or _processor_time(self.pid) > end:
                return None
            if self.pieces.poll(20):
                piece = os.read(self.fd, 1 << 16)
                if not piece:  # another process has killed the reading process
                    return None
                self.buffer += piece
        found = bytes(self.buffer[:size])
        del self.buffer[:size]
        return found


def _processor_time(process: int) -> float:
    """Return the processor time in seconds of a process, in steps of 0.01 seconds, or 0 if it has ended."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _listed_threads() -> Iterator[bytes]:
    for process, thread in _other_threads():
        yield f"{process} {thread}\n".encode()


def _tables(threads: Iterable[Sequence[str]]) -> Iterator[Iterator[bytes]]:
    return (_pieces(thread) for _, thread in threads)


def _other_threads() -> Iterator[tuple[str, str]]:
    """Yield one thread for each mount table of another mount namespace: its process, and its path in /proc.

    First yield one thread for each namespace.
    """
    # A thread's mount table depends on its mount namespace and its root directory. The search for further
    # root directories can take long, so it comes last.
    own = _namespace("/proc/self")
    if not own:  # a system without mount namespaces
        return
    found: dict[int, list[tuple[str, str]]] = {}
    for process in filter(str.isdecimal, os.listdir("/proc")):
        # Each thread can have a namespace of its own, and the first thread can end before the rest.
        for thread in _threads(f"/proc/{process}/task"):
            found.setdefault(_namespace(thread), []).append((process, thread))
    others = [threads for namespace, threads in found.items() if namespace not in (own, 0)]
    for threads in others:
        yield threads[0]
    # A user can have thousands of threads whose root directories are below thousands of mounts. The kernel
    # needs milliseconds to find each of these root directories.
    for threads in others:
        seen = set()
        for number, (process, thread) in enumerate(threads):
            root = _root_of(thread)
            if root not in seen and number:
                yield process, thread
            seen.add(root)


def _threads(folder: str) -> list[str]:
    try:
        return [f"{folder}/{name}" for name in os.listdir(folder)]
    except OSError:  # the process has ended
        return []


def _namespace(thread: str) -> int:
    """Return the number of a thread's mount namespace, or 0 if it can't be read."""
    try:
        return os.stat(f"{thread}/ns/mnt").st_ino
    except OSError:
        return 0


def _root_of(thread: str) -> str:
    """Return the path of a thread's root directory. Unlike ``stat``, readlink does not access it."""
    try:
        return os.readlink(f"{thread}/root")
    except OSError:  # the thread has ended
        return ""


def _pieces(thread: str) -> Iterator[bytes]:
    """Yield the pieces of a thread's mount table. One read returns at most one memory page."""
    try:
        file = os.open(f"{thread}/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        try:
            while piece := os.read(file, 1 << 16):
                yield piece
        finally:
            os.close(file)
    except OSError:  # the thread has ended
        pass


def _lines(table: bytes) -> list[list[bytes]]:
    """Return the fields of each line of a mount table. Omit a line that was read only in part."""
    return [fields for line in table.split(b"\n") if len(fields := line.split(b" ", 5)) == 6]


def _parsed(lines: Iterable[Sequence[bytes]]) -> dict[bytes, Mount]:
    """Return the mounts of a table by their ids."""
    return {
        number: Mount(device, unescaped(top), unescaped(point), parent)
        for number, parent, device, top, point, _ in lines
    }


def _escaped(name: bytes) -> bytes:
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\" else bytes((byte,)) for byte in name)
