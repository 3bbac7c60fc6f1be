"""Checks of an image, one file a check: functions marked ``@check``, found by ``audit``.

A check takes a ``Survey`` and yields what it sees. It neither opens nor changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ..model.entry import DIRECTORY, SYMLINK, Entry, TemplateFile
from ..model.errors import TemplaterError
from ..model.metadata import Metadata, Rule
from ..model.source import Source, Span
from ..planning.resolve import clean
from ..pongo2.state import Limits
from ..rootfs.memory import MemoryRootfs


@dataclass(frozen=True, slots=True)
class Name:
    """One name of an image, as stored: ``path`` has no leading slash and is not cleaned."""

    path: str
    entry: Entry
    xattrs: frozenset[str] = frozenset()
    #: the same file as this other name
    hard_link: str = ""


@dataclass(frozen=True)
class Survey:
    """All that an audit looks at, read by ``survey.py`` without following or refusing anything."""

    name: str
    metadata: Metadata | None = None
    templates: Mapping[str, TemplateFile] = field(default_factory=dict)
    names: tuple[Name, ...] = ()
    #: what could not be read, or was stopped at a limit
    errors: tuple[TemplaterError, ...] = ()
    #: what rendering may take, if it is not for the check to say
    limits: Limits | None = None
    #: whether every name of the image was seen: of what is missing nothing can be said otherwise
    complete: bool = True

    @property
    def rules(self) -> tuple[Rule, ...]:
        return self.metadata.rules if self.metadata is not None else ()

    @cached_property
    def targets(self) -> tuple[tuple[Rule, str], ...]:
        """The rules whose path can be cleaned, with the cleaned path."""
        found = []
        for rule in self.rules:
            try:
                found.append((rule, clean(rule.path)))
            except TemplaterError:
                continue
        return tuple(found)

    @cached_property
    def rootfs(self) -> MemoryRootfs:
        """The names below ``rootfs/``: kinds and links, no contents. Later names win, as in unpacking."""
        tree = MemoryRootfs()
        for name in self.names:
            top, _, path = name.path.removeprefix("./").partition("/")
            if top == "rootfs" and path.strip("/") and path.count("/") <= _DEEPEST:
                try:
                    _place(tree, "/" + path.strip("/"), name.entry)
                except TemplaterError:
                    continue  # hostile names are the business of the checks of names
        return tree

    def source(self, rule: Rule) -> Source | None:
        """A rule's template as text, if the image has it and it may be read."""
        file = self.templates.get(rule.template)
        if file is None or file.data is None:
            return None
        return Source(f"{self.name}/templates/{rule.template}", file.data)

    def sources(self) -> Iterable[Source]:
        for name, file in sorted(self.templates.items()):
            if file.data is not None:
                yield Source(f"{self.name}/templates/{name}", file.data)


#: no rule writes deeper; each level is looked at again for each name below it
_DEEPEST = 64


def _place(tree: MemoryRootfs, path: str, entry: Entry) -> None:
    parent = ""
    above = path.rpartition("/")[0]
    for part in path.split("/")[1:-1] if above and tree.entry(above) is None else ():
        parent += "/" + part
        if tree.entry(parent) is None:
            tree.mkdir(parent)
    here = tree.entry(path)
    if here is not None and here.kind == DIRECTORY == entry.kind:
        return
    if here is not None:
        tree.remove(path)
    if entry.kind == DIRECTORY:
        tree.mkdir(path, entry.mode, entry.uid, entry.gid)
    elif entry.kind == SYMLINK:
        tree.symlink(path, entry.target)
    elif entry.kind == "file":
        tree.write(path, b"", entry.mode, entry.uid, entry.gid)
    else:
        tree.special(path, entry.kind, entry.mode, entry.rdev)


@dataclass(frozen=True, slots=True)
class Sight:
    """Something a check saw, at a place in a text or at a name of the image.

    ``severity`` and ``advisory`` are the check's own unless said; an empty advisory is none.
    """

    message: str
    at: Span | str
    hint: str = ""
    severity: str = ""
    advisory: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A check: its name, how bad a finding of it is, what it looks for, and what it resembles."""

    id: str
    severity: str
    about: str
    advisory: str
    look: Callable[[Survey], Iterable[Sight]]


def check(
    id: str, severity: str, about: str, advisory: str = ""
) -> Callable[[Callable[[Survey], Iterable[Sight]]], Check]:
    """Mark a function as a check."""
    return lambda look: Check(id, severity, about, advisory, look)
