"""A scanned image: metadata.yaml, templates and the names of all files, as the checks see them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from time import process_time
from typing import TYPE_CHECKING, NamedTuple

from ..image.tar_reader import HARD_LINK, Member
from ..model.entry import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FILE, SYMLINK, Entry, Resolved, TemplateFile
from ..model.errors import LimitError, RefusedError, TemplaterError
from ..model.file_names import DISK, ROOTFS
from ..model.instance import Instance
from ..model.metadata import Metadata, Rule
from ..model.source import Source, Span
from ..model.unprintable_characters import printable
from ..planning.follow_links import Steps, clean, resolve
from ..pongo2.render_state import Limits
from .base import mode_of
from .linked_names import LinkedNames

if TYPE_CHECKING:
    from ..definitions.predicted_image import DefinitionImage

#: the beginnings of the names of members that Incus does not unpack
_SKIPPED = tuple(f"{start}{folder}/" for folder in ("dev", f"{ROOTFS}/dev") for start in ("", "/", "./"))


class Name(NamedTuple):
    """The name of one file as the image stores it.

    The scan removes only ``.`` and empty components from ``path``.
    """

    path: str
    entry: Entry
    #: the names of the extended attributes
    xattrs: frozenset[str] = frozenset()
    #: for a hard link in an archive, the path of its target
    hard_link: str = ""
    #: for a file with several hard links in a directory image: its device and inode
    inode: tuple[int, int] | None = None
    #: for a directory in an archive, whether the stored name ends in ``/.``
    is_inside: bool = False
    #: whether the name belongs to a member of a tarball that Incus does not unpack
    skipped: bool = False


def cleaned(name: str) -> str:
    """Remove ``.`` and empty components from a name.

    Unlike tar, the function keeps a leading ``/`` and ``..``, because a check reports them.
    """
    closed = f"/{name}/"
    if "//" not in closed and "/./" not in closed:
        return name
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return ("/" if name.startswith("/") else "") + "/".join(parts)


def _skipped_by_incus(name: str) -> bool:
    """Return whether Incus skips the archive member ``name`` when it unpacks a tarball.

    Incus passes options such as ``--exclude=rootfs/dev/*`` to GNU tar. LXD does this only in a user
    namespace.
    """
    # GNU tar compares its patterns with the stored name, without slashes at the end.
    return name.startswith(_SKIPPED) and name.rstrip("/").startswith(_SKIPPED)


def name_of(member: Member) -> Name:
    """Convert an archive member to a ``Name``."""
    kind = FILE if member.kind == HARD_LINK else member.kind
    device = os.makedev(*member.device) if kind in (CHAR_DEVICE, BLOCK_DEVICE) else 0
    entry = Entry(kind, member.mode, member.uid, member.gid, member.size, 1, member.target, rdev=device)
    hard_link = cleaned(member.target) if member.kind == HARD_LINK else ""
    path = cleaned(member.name)
    if not path and member.kind != DIRECTORY:
        raise RefusedError(f"the archive contains a {member.kind} without a name")
    if member.kind == HARD_LINK and not hard_link:
        raise RefusedError(f"'{printable(path)}' is a hard link to the top directory")
    is_inside = kind == DIRECTORY and member.name.rstrip("/").endswith("/.")
    skipped = _skipped_by_incus(member.name)
    return Name(path, entry, frozenset(member.xattrs), hard_link, is_inside=is_inside, skipped=skipped)


class Trailing(NamedTuple):
    """Data after the end-of-archive marker. Tools and daemons ignore this data."""

    file: str
    position: int
    #: whether the data begins like another archive or compressed file
    is_archive: bool
    #: a name for the data in which ``position`` counts bytes
    counted: str = "decompressed archive"


@dataclass(frozen=True)
class ScannedImage:
    """An image as `image_scanner` reads it. The scan follows no links and rejects no names."""

    name: str
    metadata: Metadata | None = None
    templates: Mapping[str, TemplateFile] = field(default_factory=dict)
    names: tuple[Name, ...] = ()
    #: errors from parts that are unreadable or exceed a limit
    errors: tuple[TemplaterError, ...] = ()
    #: limits for checks that render templates; None selects the default limits of the check
    limits: Limits | None = None
    #: an instance for which checks also render the templates, as at its first start
    instance: Instance | None = None
    #: whether the scan read every name; if not, checks must not report missing names
    complete: bool = True
    trailing: tuple[Trailing, ...] = ()
    #: the first bytes of files that checks inspect, by path
    heads: Mapping[str, bytes] = field(default_factory=dict)
    #: the stored file metadata.yaml
    stored: Source | None = None
    #: the uid and gid of root: the owner of the directory rootfs, or 0 in an archive
    root_uid: int = 0
    root_gid: int = 0
    #: the build that would make the image, if the image is a definition
    definition: DefinitionImage | None = None
    #: whether the image is an archive; the daemons import an archive unchanged, so no later step adds a file
    packed: bool = False
    #: names of an archive that the daemons don't find, because they are not written as the daemons expect:
    #: the name of metadata.yaml, and the name of a member of the root filesystem
    unfound: tuple[str, ...] = ()
    #: the uncompressed tar archives among the image's files that the daemons do not detect as such
    undetected: tuple[str, ...] = ()
    #: metadata.yaml as yaml.v4 (Incus 7) decodes it, or its error; None if the file is missing
    by_v4: Metadata | TemplaterError | None = None
    #: the processor time when the scan began
    begun: float = field(default_factory=process_time)

    @property
    def rules(self) -> tuple[Rule, ...]:
        return self.metadata.rules if self.metadata is not None else ()

    @cached_property
    def targets(self) -> tuple[tuple[Rule, str, Resolved], ...]:
        """The rules with valid paths: (rule, cleaned path, path with symlinks resolved)."""
        found = []
        steps = Steps()
        for rule in self.rules:
            try:
                path = clean(rule.path)
            except TemplaterError:
                continue
            found.append((rule, path, resolve(self.rootfs, path, steps)))
        return tuple(found)

    def file_mode(self, rule: Rule) -> int:
        """Return the mode of the file that a rule writes. The daemons keep the mode of an existing file."""
        kept = self.kept_mode(rule)
        return kept if kept is not None else self._created_modes.get(self._real_path(rule), mode_of(rule))

    def kept_mode(self, rule: Rule) -> int | None:
        """Return the mode that a rule's target has before the rule is applied.

        Return None if no file is known at the target.
        """
        if self.definition is not None:
            return self.definition.kept_mode(rule.path)
        resolved = self._resolved.get(id(rule))
        if resolved is None or resolved.entry is None or resolved.entry.kind != FILE:
            return None
        return resolved.entry.mode

    def _real_path(self, rule: Rule) -> str:
        resolved = self._resolved.get(id(rule))
        return rule.path if resolved is None else resolved.real

    @cached_property
    def _resolved(self) -> Mapping[int, Resolved]:
        """The resolved path of each rule whose path is valid. The key is the ``id()`` of the rule."""
        return {id(rule): resolved for rule, _, resolved in self.targets}

    def is_dangling(self, rule: Rule) -> bool:
        """Return whether a rule's target is a symlink to a missing file.

        For such a rule, Incus 6 and LXD create the file with the mode 0644, and Incus 7 fails.
        """
        resolved = self._resolved.get(id(rule))
        return resolved is not None and resolved.dangling and resolved.error is None

    @cached_property
    def _created_modes(self) -> Mapping[str, int]:
        """A dict from the real path of each target to the mode that rules give to the target.

        If rules give different modes, prefer a mode with which every user can read the file.
        """
        modes: dict[str, int] = {}
        for rule in self.rules:
            path, mode = self._real_path(rule), 0o644 if self.is_dangling(rule) else mode_of(rule)
            modes[path] = max(modes.get(path, mode), mode, key=lambda each: each & 0o004)
        return modes

    @property
    def rootfs(self) -> RootfsNames:
        """The names below ``rootfs/``. Raises LimitError if they have too many directories."""
        found = self._rootfs_or_error
        if isinstance(found, LimitError):
            raise found.with_traceback(None)
        return found

    @cached_property
    def _rootfs_or_error(self) -> RootfsNames | LimitError:
        try:
            return RootfsNames(self.names)
        except LimitError as error:
            return error

    @cached_property
    def other_names(self) -> Mapping[str, list[str]]:
        """A dict from each name of a hard-linked file to the list of all names of the file.

        All names of one file share the same list.
        """
        found: dict[str, list[str]] = {}
        inodes: dict[tuple[int, int], list[str]] = {}
        for name in self.names:
            if name.hard_link:
                names = found.setdefault(name.hard_link, [name.hard_link])
            elif name.inode is not None:
                names = inodes.setdefault(name.inode, [])
            else:
                continue
            names.append(name.path)
            found[name.path] = names
        return found

    @cached_property
    def linked_names(self) -> LinkedNames:
        return LinkedNames(self.rootfs, self.rootfs.symlinks())

    @cached_property
    def may_be_virtual_machine(self) -> bool:
        """Whether the image has the disk of a virtual machine, or no root filesystem at all."""
        return self.has_disk or not any(name.path.partition("/")[0] == ROOTFS for name in self.names)

    @cached_property
    def has_disk(self) -> bool:
        return any(name.path == DISK for name in self.names)

    def placed(self, span: Span | None) -> Span | None:
        """Return the position of a render error, with the image's name."""
        # The renderer knows only the names of templates. A position in metadata.yaml already has the image's
        # name.
        if span is None or (self.stored is not None and span.source.name == self.stored.name):
            return span
        name = f"{self.name}/{span.source.name}"
        source = self._placed.get(name)
        if source is None or source.text is not span.source.text:
            source = self._placed[name] = Source(name, span.source.text)
        return source.span(span.start, span.end)

    @cached_property
    def _placed(self) -> dict[str, Source]:
        """The sources that ``placed()`` has made, by name. Many rules can have the same template."""
        return {}

    @cached_property
    def _sources(self) -> dict[str, Source]:
        """A cache of the method ``source``: the Source of each template, by the template's name."""
        return {}

    def rendering_limits(self, default: Limits) -> Limits:
        """Return the limits for a check that renders templates.

        The scan and the checks share ``ALL_SECONDS``, unless the user chose the time for all templates.
        """
        limits = copy(self.limits or default)
        if limits.total is not None and limits.total == default.total:
            left = round(ALL_SECONDS - (process_time() - self.begun), 1)
            limits.total = max(LEAST_SECONDS, min(limits.total, left))
        return limits

    def source(self, rule: Rule) -> Source | None:
        """Return the text of a rule's template, or None if the template is missing or unreadable."""
        if not self.has_source(rule):
            return None
        name = rule.template
        if name not in self._sources:
            self._sources[name] = self.templates[name].source(f"{self.name}/templates/{name}")
        return self._sources[name]

    def has_source(self, rule: Rule) -> bool:
        """Return whether the template of a rule exists and is readable."""
        file = self.templates.get(rule.template)
        return file is not None and file.data is not None

    @cached_property
    def _spent(self) -> list[float]:
        """The processor seconds that all checks have spent on template texts.

        The number is in a list, so that ``sources`` can increase it.
        """
        return [0.0]

    def sources(self, names: Iterable[str] | None = None) -> Iterable[Source]:
        """Yield the text of each readable template in ``names``, but equal texts only once.

        By default, yield the texts of all templates, sorted by name. Raises LimitError if all checks together
        spend more than ``MAX_SECONDS``.
        """
        seen: set[bytes] = set()
        for name in sorted(self.templates) if names is None else names:
            file = self.templates.get(name)
            if file is None or file.data is None or file.data in seen:
                continue
            if self._spent[0] > MAX_SECONDS:
                raise LimitError(f"the checks of all templates take more than {MAX_SECONDS:g} seconds")
            seen.add(file.data)
            begun = process_time()
            yield file.source(f"{self.name}/templates/{name}")
            self._spent[0] += process_time() - begun


#: maximum processor time in seconds that all checks together can spend on the texts of templates
MAX_SECONDS = 2.0
#: processor time in seconds that the scan and all checks share, and the least time for rendering
ALL_SECONDS, LEAST_SECONDS = 7.0, 0.5

#: ``RootfsNames`` omits names with more parent directories than this. A check reports deeper targets.
MAX_DEPTH = 64


#: the entry of a directory that exists only as the parent of a name
IMPLIED = Entry(DIRECTORY, 0o755)
_MOST_ENTRIES = 1_000_000


class RootfsNames:
    """A ``RootfsView`` of the names below ``rootfs/``, without file contents.

    If the archive contains a name more than once, the view has its last entry.
    """

    def __init__(self, names: Collection[Name]) -> None:
        self._entries: dict[str, Entry] = {"/": IMPLIED}
        #: the files that are deeper than MAX_DEPTH, but are the targets of hard links, by path
        deep = {name.hard_link: IMPLIED for name in names if name.hard_link.count("/") > MAX_DEPTH}
        for name in names:
            top, _, path = name.path.partition("/")
            if top != ROOTFS or not path:
                continue
            entry = name.entry
            if name.hard_link:  # the mode and the owner in a hard link's header have no effect
                target = name.hard_link
                entry = deep.get(target) or self._entries.get(target.removeprefix(ROOTFS), entry)
            if path.count("/") <= MAX_DEPTH:
                self._entries["/" + path] = entry
                self._add_parents("/" + path)
            elif name.path in deep:
                deep[name.path] = entry

    def _add_parents(self, path: str) -> None:
        while path := path.rpartition("/")[0]:
            if path in self._entries:
                return
            self._entries[path] = IMPLIED
            if len(self._entries) > _MOST_ENTRIES:
                raise LimitError(f"the root filesystem has more than {_MOST_ENTRIES} files and directories")

    def entry(self, path: str) -> Entry | None:
        return self._entries.get(path)

    def symlinks(self) -> Iterator[tuple[str, str]]:
        """Yield the path and the target of each symlink."""
        for path, entry in self._entries.items():
            if entry.kind == SYMLINK:
                yield path, entry.target

    def read(self, path: str, limit: int) -> bytes:
        raise LimitError("the contents of the root filesystem were not read")
