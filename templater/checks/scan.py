"""Reads all of an image for an audit: follows nothing, refuses nothing, stops at the limits."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ..image.archive import HARD_LINK, Member, open_archive
from ..image.contents import SecondFileCheck, open_rootfs, refuse_same_file
from ..image.limits import DEFAULT, Limits
from ..image.names import METADATA, ROOTFS
from ..model.entry import DIRECTORY, FILE, Entry, TemplateFile
from ..model.errors import InputError, LimitError, TemplaterError, UsageError
from ..model.metadata import Metadata
from ..model.source import Source
from ..parsing.metadata_yaml import read_metadata
from ..rootfs.directory import open_root
from .survey import Name, Survey

if TYPE_CHECKING:
    from ..parsing.yaml_nodes import Limits as YamlLimits
    from ..pongo2.state import Limits as RenderLimits

Reader = Callable[[], bytes]

#: every name is held and looked at by many checks, so there may be fewer than where they are only passed
MOST_NAMES = 1_000_000
#: what is judged unless somebody asks for another limit
AUDITED = replace(DEFAULT, members=MOST_NAMES)


def survey(
    path: str,
    limits: Limits = AUDITED,
    *,
    rootfs: str | None = None,
    yaml: YamlLimits | None = None,
    rendering: RenderLimits | None = None,
) -> Survey:
    """Everything that can be seen of an image: a folder, or a tarball of either kind.

    ``rootfs`` is a split image's second file. ``rendering`` is what its templates may take when a check
    tries them.
    """
    if rootfs is not None and os.path.isdir(path):
        raise UsageError(f"'{path}' is a directory: it has no second file")
    reading = _Reading(path, limits, yaml)
    reading.part(reading.folder if os.path.isdir(path) else reading.archive)
    if reading.complete and not any(name.path == METADATA for name in reading.names):
        reading.errors.append(InputError(f"'{path}' has no metadata.yaml: it is not an image"))
    if rootfs is not None:
        reading.part(partial(reading.second, rootfs))
    return reading.survey(rendering)


class _Reading:
    def __init__(self, path: str, limits: Limits, yaml: YamlLimits | None = None) -> None:
        self.path = path
        self.limits = limits
        self.yaml = yaml
        self.names: list[Name] = []
        #: bytes of all templates together
        self.held = 0
        self.templates: dict[str, TemplateFile] = {}
        self.metadata: Source | None = None
        self.errors: list[TemplaterError] = []
        self.complete = True

    def part(self, read: Callable[[], None]) -> None:
        """What ends the reading of a part early is a finding; where nothing was seen of it, an error."""
        seen = len(self.names)
        try:
            read()
        except TemplaterError as error:
            if isinstance(error, UsageError) or len(self.names) == seen:
                raise
            self.errors.append(error)
            self.complete = False

    def folder(self) -> None:
        with open_root(self.path) as top:
            pending = ["/"]
            while pending:
                folder = pending.pop()
                for name in top.listdir(folder):
                    place = f"{folder.rstrip('/')}/{name}"
                    entry = top.entry(place)
                    if entry is None:
                        continue
                    self.names.append(Name(place[1:], entry))
                    if len(self.names) > self.limits.members:
                        raise LimitError(f"'{self.path}' has more than {self.limits.members} names")
                    if entry.kind == DIRECTORY and not entry.is_mount:
                        pending.append(place)
                    elif entry.kind == FILE and self.wanted(place[1:]):
                        self.take(place[1:], entry, partial(top.read, place, self.limit(place[1:])))
                    elif self.wanted(place[1:]):
                        self.templates[name] = TemplateFile(entry)

    def archive(self) -> None:
        archive = open_archive(self.path, self.limits)
        with archive.stream:
            for member in archive:
                path = cleaned(member.name)
                if not path:
                    continue
                self.names.append(named(member))
                if not self.wanted(path):
                    continue
                if member.kind == FILE:
                    self.take(path, self.names[-1].entry, partial(archive.read, member, self.limit(path)))
                elif path != "metadata.yaml":
                    self.templates[path.partition("/")[2]] = TemplateFile(self.names[-1].entry)
            archive.finish()

    def second(self, path: str) -> None:
        """A split image's root filesystem: its names are those of ``rootfs/`` in a unified image."""
        if any(name.path.partition("/")[0] in (ROOTFS, "rootfs.img") for name in self.names):
            raise UsageError(
                f"'{self.path}' holds a root filesystem: '{path}' is not part of it",
                hint="give the image alone",
            )
        refuse_same_file(self.path, path)
        second = SecondFileCheck(path)
        with open_rootfs(path, self.limits) as archive:
            for member in archive:
                name = named(member)
                second.add(name.path)
                target = name.hard_link and below_rootfs(name.hard_link)
                self.names.append(replace(name, path=below_rootfs(name.path), hard_link=target))
            archive.finish()
        second.finish()

    def wanted(self, path: str) -> bool:
        top, _, name = path.partition("/")
        return path == "metadata.yaml" or (top == "templates" and bool(name) and "/" not in name)

    def limit(self, path: str) -> int:
        return self.limits.metadata_bytes if path == "metadata.yaml" else self.limits.template_bytes

    def take(self, path: str, entry: Entry, read: Reader) -> None:
        """The content of metadata.yaml or a template; the last one of a name counts, as for the daemons."""
        try:
            data = read()
            if path != "metadata.yaml":
                self.hold(len(data))
        except TemplaterError as error:
            if path == "metadata.yaml":
                self.errors.append(error)
            else:
                self.templates[path.partition("/")[2]] = TemplateFile(entry, None, error)
            return
        if path == "metadata.yaml":
            self.metadata = Source(f"{self.path}/{path}", data)
        else:
            self.templates[path.partition("/")[2]] = TemplateFile(entry, data)

    def hold(self, size: int) -> None:
        if self.held + size > self.limits.templates_bytes:
            raise LimitError(f"the templates have more than {self.limits.templates_bytes} bytes together")
        self.held += size

    def survey(self, rendering: RenderLimits | None) -> Survey:
        metadata = self.decoded()
        return Survey(
            self.path,
            metadata,
            self.templates,
            tuple(self.names),
            tuple(self.errors),
            rendering,
            self.complete,
        )

    def decoded(self) -> Metadata | None:
        """As the laxest host reads it: what a stricter one refuses is still worth judging."""
        if self.metadata is None:
            return None
        try:
            return read_metadata(self.metadata, yaml="v2", limits=self.yaml)
        except TemplaterError as error:
            self.errors.append(error)
            return None


def cleaned(name: str) -> str:
    """What tar makes of a member's name, but for what is worth a finding: ``/`` in front, and ``..``."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return ("/" if name.startswith("/") else "") + "/".join(parts)


def below_rootfs(name: str) -> str:
    """The name in a unified image; one that is absolute stays what it is, for that is worth a finding."""
    return name if name.startswith("/") else f"{ROOTFS}/{name}".rstrip("/")


def named(member: Member) -> Name:
    kind = FILE if member.kind == HARD_LINK else member.kind
    entry = Entry(kind, member.mode, member.uid, member.gid, member.size, 1, member.target)
    hard_link = cleaned(member.target) if member.kind == HARD_LINK else ""
    return Name(cleaned(member.name), entry, frozenset(member.xattrs), hard_link)
