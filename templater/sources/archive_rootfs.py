"""The root filesystem in an archive: its names are held, its files are read again when they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..image.archive import HARD_LINK, Member, clean_name, open_archive
from ..image.limits import DEFAULT, Limits
from ..model.entry import DIRECTORY, FILE, Entry
from ..model.errors import LimitError, TemplaterError
from ..parsing.metadata_yaml import read_metadata
from ..planning.planner import MAX_COMPARED, MAX_HELD
from ..planning.resolve import clean, resolve
from ..rootfs.directory import shifted
from ..rootfs.paths import MissingError, not_regular

if TYPE_CHECKING:
    from ..model.entry import Image

#: each takes about 300 bytes
MOST_NAMES = 500_000
#: times that the archive is read again
MOST_READINGS = 8


class ArchiveRootfs:
    """A ``RootfsView`` of ``PREFIXrootfs/`` in an archive.

    The first ``read`` reads the targets of all rules of ``image`` in one go.
    """

    def __init__(self, path: str, prefix: str, image: Image, limits: Limits = DEFAULT) -> None:
        self.name = path
        self._prefix = f"{prefix}rootfs"
        self._image = image
        self._limits = limits
        self._entries: dict[str, Entry] = {"/": Entry(DIRECTORY, 0o755)}
        self._contents: dict[str, bytes] = {}
        self._ids = shifted(0, 0)
        self._readings = 0

    def __repr__(self) -> str:
        return f"ArchiveRootfs({self.name!r}, {len(self._entries)} names)"

    def add(self, member: Member) -> None:
        """Record a member, whose name begins with ``rootfs``."""
        path = "/" + clean_name(member).partition("/")[2]
        if path == "/" and member.uid >= 65536:
            self._ids = shifted(member.uid, member.gid)
        if len(self._entries) >= MOST_NAMES:
            raise LimitError(
                f"the root filesystem in '{self.name}' holds more than {MOST_NAMES} names",
                hint="unpack it and give the directory with --rootfs",
            )
        parent = path.rpartition("/")[0]
        while parent and parent not in self._entries:
            self._entries[parent] = Entry(DIRECTORY, 0o755)
            parent = parent.rpartition("/")[0]
        if member.kind == HARD_LINK:
            target = self._entries.get("/" + member.target.removeprefix("./").partition("/")[2])
            if target is not None:
                target.nlink += 1
                self._entries[path] = target
            return
        uid, gid = self._ids.in_container(member.uid, member.gid)
        major, minor = member.device
        self._entries[path] = Entry(
            member.kind, member.mode, uid, gid, member.size, target=member.target,
            rdev=(minor & 0xFF) | (major & 0xFFF) << 8 | (minor & ~0xFF) << 12,
        )  # fmt: skip

    def entry(self, path: str) -> Entry | None:
        return self._entries.get(path)

    def read(self, path: str, limit: int) -> bytes:
        entry = self._entries.get(path)
        if entry is None:
            raise MissingError(f"{path!r} does not exist")
        if entry.kind != FILE:
            raise not_regular(path, entry.kind)
        if entry.size > limit:
            raise LimitError(f"{path!r} is larger than {limit} bytes")
        if path not in self._contents:
            self._read_contents({path} if self._readings else self._targets() | {path})
        if path not in self._contents:
            raise LimitError(f"{path!r} is too large to be held")
        return self._contents[path]

    def walk(self) -> Iterator[tuple[str, Entry]]:
        """Every name below the root and what it is, parents first."""
        for path in sorted(self._entries, key=lambda path: path.split("/")):
            if path != "/":
                yield path, self._entries[path]

    def _targets(self) -> set[str]:
        """Return where the rules lead."""
        found = set()
        for rule in read_metadata(self._image.read_metadata()).rules:
            try:
                found.add(resolve(self, clean(rule.path)).real)
            except TemplaterError:
                continue
        return found

    def _read_contents(self, wanted: set[str]) -> None:
        """Read these files, as far as they may be held, in one pass through the archive."""
        self._readings += 1
        if self._readings > MOST_READINGS:
            raise LimitError(f"'{self.name}' would have to be read more than {MOST_READINGS} times")
        # hard links are read by the name that has the content
        nodes = {id(self._entries[path]) for path in wanted if path in self._entries}
        held = 0
        contents: dict[int, bytes] = {}
        archive = open_archive(self.name, self._limits)
        try:
            for member in archive:
                name = clean_name(member)
                path = name.removeprefix(self._prefix)
                entry = self._entries.get(path) if name.startswith(self._prefix + "/") else None
                if entry is None or id(entry) not in nodes or member.kind != FILE:
                    continue
                if member.size > MAX_COMPARED or held + member.size > MAX_HELD:
                    continue
                held += member.size
                contents[id(entry)] = archive.read(member, MAX_COMPARED)
        finally:
            archive.stream.close()
        for path in wanted:
            entry = self._entries.get(path)
            if entry is not None and id(entry) in contents:
                self._contents[path] = contents[id(entry)]


def read_archive_rootfs(path: str, image: Image, limits: Limits = DEFAULT) -> ArchiveRootfs:
    """Read the names in the ``rootfs/`` of an image's archive: a full pass. InputError if it is damaged."""
    view = ArchiveRootfs(path, "", image, limits)
    archive = open_archive(path, limits)
    try:
        for member in archive:
            name = clean_name(member)
            if name == "rootfs" or name.startswith("rootfs/"):
                view.add(member)
        archive.finish()
    finally:
        archive.stream.close()
    return view
