"""Conversion of a directory tree to archive members, confined to that tree."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..model.counters_of_work import received
from ..model.entry import DIRECTORY, FILE, SOCKET, SYMLINK
from ..model.errors import InputError
from ..model.unprintable_characters import printable
from ..rootfs.confined_directory import Directory
from ..rootfs.confined_root import Root
from ..rootfs.system_calls import kind_of, read_error
from .limits import HeldBytes, Limits, memory_of, refuse_deep, too_many_pieces
from .tar_reader import HARD_LINK, Member
from .xattrs import xattrs_of, xattrs_of_entry

_PIECE = 1024 * 1024
#: memory for a name in an open directory and for its sort key, in addition to their characters
_ENTRY_BYTES = 100
#: memory for a name that the walk keeps, in addition to its characters
_NAME_BYTES = 250
#: bytes that a pax header needs for the keys and numbers in its records, and for additions to the name
_OTHER_RECORDS = 400

Data = Iterator[tuple[int, bytes]]
#: a function that converts a uid or gid on disk to the id in the container
Unshift = Callable[[int], int]


@dataclass(slots=True)
class _Opened:
    """An open directory of a walk. The walk does not recurse, but keeps a list of open directories."""

    directory: Directory
    name: str
    entries: Iterator[str]
    #: memory for ``entries``
    held: int


@dataclass(slots=True)
class Tree:
    """A walk over one directory tree, sorted by name, with each directory before its contents.

    ``left_out`` lists the sockets, which are skipped. ``mounts`` lists the mount points, which become empty
    directories.
    """

    root: Root
    limits: Limits
    latest: int | None = None
    """Latest modification time to store (SOURCE_DATE_EPOCH). None means no limit.

    Members with a later modification time get this time.
    """
    uid: Unshift = int
    gid: Unshift = int
    left_out: list[str] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)
    #: Whether a directory of another user contains a private file or directory of root or of this process's
    #: user. The other user may have moved it there.
    has_secrets: bool = False
    #: the first name of each file by (device, inode), to detect hard links; None to store each name as a file
    _names: dict[tuple[int, int], str] | None = None
    held: HeldBytes = field(init=False)

    def __post_init__(self) -> None:
        self.held = HeldBytes(self.root.name, self.limits)

    def members(self, path: str, name: str, *, links: bool = True) -> Iterator[tuple[Member, Data]]:
        """Yield the directory ``path`` and the members below it. ``name`` replaces ``path`` in their names.

        If ``links`` is true, a file with several paths gives hard links to its first path. Otherwise, each
        path gives the content.
        """
        self._names = {} if links else None
        found = self.root.lstat(path)
        if found is None:
            raise InputError(f"'{self.root.name}{printable(path)}' does not exist")
        if found[0].kind != DIRECTORY:
            raise InputError(f"'{self.root.name}{printable(path)}' is a {found[0].kind}, not a directory")
        opened = [self._opened(self.root.directory(path), name, self.root.fd)]
        try:
            yield self._own(opened[-1]), iter(())
            while opened:
                entry = next(opened[-1].entries, None)
                if entry is None:
                    closed = opened.pop()
                    closed.directory.close()
                    self.held.add(-closed.held)
                    continue
                there = self._look(opened[-1], entry)
                if isinstance(there, _Opened):
                    opened.append(there)
                    yield self._own(there), iter(())
                elif there is not None:
                    yield there
        finally:
            for each in opened:
                each.directory.close()

    def file(self, path: str, name: str) -> Member:
        """Return one file as a member with this name. The member is never a hard link."""
        self._names = None
        parent, _, last = path.rpartition("/")
        with self.root.directory(parent or "/") as directory:
            status = directory.lstat(last)
            if status is None:
                raise InputError(f"'{self.root.name}{printable(path)}' does not exist")
            return self._member(directory, last, name, status)

    def _opened(self, directory: Directory, name: str, parent: int) -> _Opened:
        self._note_secret(directory.fd, parent)
        entries, held = [], 0
        with os.scandir(directory.fd) as found:
            for entry in found:
                size = _ENTRY_BYTES + 2 * memory_of(entry.name)
                self.held.add(size)
                held += size
                entries.append(entry.name)
        return _Opened(directory, name, iter(sorted(entries, key=os.fsencode)), held)

    def _own(self, opened: _Opened) -> Member:
        member = self._common(opened.name, DIRECTORY, os.fstat(opened.directory.fd))
        member.xattrs = xattrs_of(opened.directory.fd, opened.name or "/", self._room_for_xattrs(member))
        return member

    def _look(self, opened: _Opened, entry: str) -> _Opened | tuple[Member, Data] | None:
        """Look up a name. Return the directory to enter next, or the member, or None to skip the name."""
        directory = opened.directory
        status = directory.lstat(entry)
        if status is None:
            return None  # the file was removed after the listing
        name = f"{opened.name}/{entry}" if opened.name else entry
        refuse_deep(name)
        if stat.S_ISSOCK(status.st_mode):
            self.held.add(_NAME_BYTES, memory_of(name))
            self.left_out.append(name)
            return None
        if stat.S_ISDIR(status.st_mode) and directory.is_mount(entry):
            self.held.add(_NAME_BYTES, memory_of(name))
            self.mounts.append(name)
            return self._common(name, DIRECTORY, status), iter(())
        with _reading(name):
            if stat.S_ISDIR(status.st_mode):
                return self._opened(directory.directory(entry), name, directory.fd)
            member = self._member(directory, entry, name, status)
        return member, self._data(directory, entry, member)

    def _note_secret(self, fd: int, parent: int) -> None:
        """Set ``has_secrets`` if a private file or directory is in another user's directory.

        Private means that it belongs to root or this process's user, and other users can't read it.

        Call this method for each descriptor from which the walk reads content.
        """
        # A test of the path is not enough, because the owner of the parent can replace a file at any time.
        own, status = (0, os.geteuid()), os.fstat(fd)
        needed = 0o005 if stat.S_ISDIR(status.st_mode) else 0o004
        if status.st_uid in own and status.st_mode & needed != needed and os.fstat(parent).st_uid not in own:
            self.has_secrets = True

    def _common(self, name: str, kind: str, status: os.stat_result) -> Member:
        mtime = int(status.st_mtime)
        return Member(
            name,
            kind,
            stat.S_IMODE(status.st_mode),
            self.uid(status.st_uid),
            self.gid(status.st_gid),
            mtime=mtime if self.latest is None else min(mtime, self.latest),
        )

    def _member(self, directory: Directory, entry: str, name: str, status: os.stat_result) -> Member:
        member = self._common(name, kind_of(status.st_mode), status)
        if member.kind == SYMLINK:
            member.mode = 0o777
            member.target = os.readlink(entry, dir_fd=directory.fd)
        elif member.kind not in (FILE, SOCKET):
            member.device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        if status.st_nlink > 1 and self._names is not None:
            first = self._names.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                member.kind, member.target, member.device = HARD_LINK, first, (0, 0)
                return member
            self.held.add(_NAME_BYTES, memory_of(name))
        if member.kind == FILE:
            self._look_inside(directory, entry, member)
        else:
            member.xattrs = xattrs_of_entry(directory.fd, entry, name, self._room_for_xattrs(member))
        return member

    def _look_inside(self, directory: Directory, entry: str, member: Member) -> None:
        fd = directory.open(entry)
        try:
            self._note_secret(fd, directory.fd)
            status = os.fstat(fd)
            member.size = status.st_size
            member.xattrs = xattrs_of(fd, member.name, self._room_for_xattrs(member))
            if status.st_blocks * 512 < status.st_size:
                # in any format, a piece needs at least 8 bytes of the map
                most = self.limits.header_bytes // 8
                member.sparse = _pieces(fd, status.st_size, most)
                if member.sparse is not None and len(member.sparse) > most:
                    raise too_many_pieces(member.name)
        finally:
            os.close(fd)

    def _room_for_xattrs(self, member: Member) -> int:
        """Return the number of bytes that a member's extended attributes may have in its pax header."""
        # A reader accepts at most ``header_bytes`` bytes. The name and the link target use some of these
        # bytes.
        names = 2 * len(os.fsencode(member.name)) + len(os.fsencode(member.target))
        return self.limits.header_bytes - names - _OTHER_RECORDS

    def _data(self, directory: Directory, entry: str, member: Member) -> Data:
        if member.kind != FILE:
            return
        with _reading(member.name):
            fd = directory.open(entry)
            try:
                self._note_secret(fd, directory.fd)
                yield from _chunks(fd, member)
            finally:
                os.close(fd)


def _chunks(fd: int, member: Member) -> Data:
    for start, length in member.sparse if member.sparse is not None else ((0, member.size),):
        offset, end = start, start + length
        while offset < end:
            data = os.pread(fd, min(_PIECE, end - offset), offset)
            if not data:
                raise InputError(
                    f"'{printable(member.name)}' became smaller while templater read it",
                    hint="stop the program that writes to the file, and try again",
                )
            received(len(data))
            yield offset, data
            offset += len(data)


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn an OSError into an InputError that names the file."""
    try:
        yield
    except OSError as error:
        raise read_error(printable(name), error) from error


def _pieces(fd: int, size: int, most: int) -> tuple[tuple[int, int], ...] | None:
    """Return the pieces of a sparse file that are not holes, or None if the file has no holes.

    Stop after ``most + 1`` pieces.
    """
    pieces: list[tuple[int, int]] = []
    offset = 0
    # The caller refuses a file with more than ``most`` pieces.
    while offset < size and len(pieces) <= most:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # the rest of the file is a hole
                break
            return None
        offset = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        if offset > start:
            pieces.append((start, offset - start))
    return None if pieces == [(0, size)] else tuple(pieces)
