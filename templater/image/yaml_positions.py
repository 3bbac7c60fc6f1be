"""A parser of YAML that records the position of every node of the first document.

Unlike the parser in ``parsing``, this parser keeps aliases, because an edit needs their positions. ``search``
finds the node at a path of keys.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from ..model.errors import MetadataError
from ..parsing.pure_yaml import PureParser
from ..parsing.yaml_nodes import HAS_LIBYAML

if HAS_LIBYAML:
    from yaml.cyaml import CParser as _fast  # type: ignore[attr-defined]

Kind = Literal["scalar", "mapping", "sequence", "alias"]

_BREAKS = "\n\r\x85\u2028\u2029"
_BREAK = re.compile(f"\r\n|[{_BREAKS}]")
_BREAK_BEFORE = re.compile(f"(?:\r\n|[{_BREAKS}])\\Z")
_BOM = "\ufeff"
_LONGEST_KEY = 16384
_DEEPEST_FLOW = 500
_NULLS = ("", "~", "null", "Null", "NULL")
#: maximum work of all edits of a document, in microseconds of processor time on a slow machine
_MOST_WORK = 2_000_000
#: microseconds for each node, with libyaml and with the parser in Python
_NODE, _PURE_NODE = 2, 14
#: number of characters that libyaml parses in a microsecond; the parser in Python parses one character
_CHARACTERS = 50


@dataclass(eq=False, slots=True)
class Mark:
    """A node with its position: ``start`` includes anchor and tag, ``end`` excludes trailing blank lines."""

    kind: Kind
    start: int
    end: int = 0
    #: the node's end, after the blank lines that a ``|+`` scalar keeps
    reach: int = 0
    text: str = ""
    style: str = ""
    tag: str = ""
    flow: bool = False
    anchor: str = ""
    #: the node that an alias refers to
    target: Mark | None = None
    #: items of a sequence, or alternating keys and values of a mapping
    children: list[Mark] = field(default_factory=list)

    @property
    def real(self) -> Mark:
        return self.target or self

    @property
    def null(self) -> bool:
        plain = not self.style and self.tag in ("", "tag:yaml.org,2002:null")
        return self.kind == "scalar" and (plain or self.tag.endswith(":null")) and self.text in _NULLS

    @property
    def empty(self) -> bool:
        """Whether the value is null or an empty mapping, to which pairs can be added."""
        return self.null or (self.kind == "mapping" and not self.children)

    def pairs(self) -> Iterator[Place]:
        for index in range(0, len(self.children), 2):
            yield Place(self, self.children[index], self.children[index + 1])

    def below(self) -> Iterator[Mark]:
        """Yield this node and all nodes in it, in the order of the text."""
        waiting = [self]
        while waiting:
            mark = waiting.pop()
            yield mark
            waiting += reversed(mark.children)


@dataclass(frozen=True, eq=False, slots=True)
class Place:
    """A key and its value in a mapping."""

    mapping: Mark
    key: Mark
    value: Mark

    @property
    def name(self) -> str:
        """Return the key as Go reads it: null is the empty name."""
        return "" if self.key.real.null else self.key.real.text

    @property
    def merge(self) -> bool:
        key = self.key.real
        return key.text == "<<" and (not key.style or key.tag.endswith(":merge"))


class _Work:
    """The work of edits."""

    def __init__(self) -> None:
        #: the estimated time in microseconds that edits may still use
        self.left = _MOST_WORK
        #: the text that ``read`` parsed last, and its root node
        self.last: tuple[str, Mark | None] | None = None

    def spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise MetadataError("the text is too long for its number of anchors and equal keys")


_work: ContextVar[_Work | None] = ContextVar("work", default=None)


@contextlib.contextmanager
def one_account() -> Iterator[None]:
    """Limit the total work of all calls of ``read`` in the ``with`` block.

    A nested block shares the limit of the outer block.
    """
    token = _work.set(_work.get() or _Work())
    try:
        yield
    finally:
        _work.reset(token)


def read(text: str) -> Mark | None:
    """Parse the first document; return None if the text has no document."""
    work = _work.get() or _Work()
    # An edit often begins with the text that the preceding edit has parsed.
    if work.last is None or work.last[0] != text:
        work.last = text, _parse(text, work)
    return work.last[1]


def _parse(text: str, work: _Work) -> Mark | None:
    shift = 1 if text.startswith(_BOM) else 0
    try:
        if HAS_LIBYAML:
            work.spend(len(text) // _CHARACTERS)
            return _Reader(text, shift, _fast(text[shift:]), work, _NODE).document()
    except yaml.YAMLError:
        pass  # libyaml rejects long keys, but the pure parser accepts them
    try:
        work.spend(len(text))
        pure = PureParser(text[shift:], _LONGEST_KEY, _DEEPEST_FLOW)
        return _Reader(text, shift, pure, work, _PURE_NODE).document()
    except yaml.YAMLError as error:
        raise MetadataError(f"not YAML: {error}") from error


class _Reader:
    def __init__(self, text: str, shift: int, parser: Any, work: _Work, cost: int) -> None:
        self.work, self.cost = work, cost
        self.text = text
        self.shift = shift
        self.parser = parser
        self.anchors: dict[str, Mark] = {}

    def document(self) -> Mark | None:
        try:
            self.parser.get_event()  # StreamStart
            if isinstance(self.parser.get_event(), StreamEndEvent):
                return None
            return self.node(self.parser.get_event())
        finally:
            self.parser.dispose()

    def node(self, event: Any) -> Mark:
        self.work.spend(self.cost)
        start, end = event.start_mark.index + self.shift, event.end_mark.index + self.shift
        if isinstance(event, AliasEvent):
            target = self.anchors.get(str(event.anchor))
            if target is None:
                raise MetadataError(f"undefined alias '*{event.anchor}'")
            return Mark("alias", start, end, end, target=target)
        mark = Mark("scalar", start, end, end, tag=event.tag or "", anchor=event.anchor or "")
        if event.anchor:
            self.anchors[event.anchor] = mark
        if isinstance(event, ScalarEvent):
            mark.text, mark.style = event.value, event.style or ""
            self.trim(mark)
            return mark
        assert isinstance(event, MappingStartEvent | SequenceStartEvent)
        mark.kind = "mapping" if isinstance(event, MappingStartEvent) else "sequence"
        mark.flow = bool(event.flow_style)
        while not isinstance(event := self.parser.get_event(), CollectionEndEvent):
            mark.children.append(self.node(event))
        assert event.end_mark is not None
        closing = event.end_mark.index + self.shift
        if mark.flow:
            mark.end = mark.reach = closing
        elif mark.children:
            # The parser's end of a block includes the comments after the block.
            mark.end, mark.reach = mark.children[-1].end, mark.children[-1].reach
        return mark

    def trim(self, mark: Mark) -> None:
        """Set ``end`` of a block scalar to the position before its trailing blank lines."""
        if mark.style not in ("|", ">"):
            return
        while mark.end > mark.start and self.text[mark.end - 1].isspace():
            mark.end -= 1
        # Only ``+`` keeps line breaks behind the break of the last line. The text decides, and not the
        # header, because a tag or a comment before the header can contain the header's characters.
        if not mark.text or mark.text[-2:].strip(_BREAKS):
            mark.reach = mark.end


# search for a value by its path


@dataclass(frozen=True, slots=True)
class Way:
    """The result of a search for a path in a YAML text.

    The text may contain only the first names of the path.

    * ``nodes``: the nodes that were found on the path
    * ``place``: the last pair of a key and a value that was found
    * ``rest``: the names that were not found
    """

    nodes: tuple[Mark, ...]
    place: Place | None
    rest: tuple[str, ...]


def search(root: Mark, names: tuple[str, ...], *, merged: bool) -> Way:
    """Follow a path. If several pairs of a mapping have the same name, use the last pair.

    Also search mappings that are merged with ``<<``. Without ``merged``, ignore them for the last name.
    """
    return _search_below(root, names, (), set(), merged=merged)


def _search_below(
    node: Mark, names: tuple[str, ...], before: tuple[Mark, ...], seen: set[tuple[int, int]], *, merged: bool
) -> Way:
    nodes = (*before, node)
    found = Way(nodes, None, names)
    # A second search of the same mapping would have the same result, and the first of equal results counts.
    visit = (id(node.real), len(names))
    if node.real.kind != "mapping" or not names or visit in seen:
        return found
    seen.add(visit)
    pairs = list(node.real.pairs())
    for place in reversed(pairs):
        if place.merge or place.name != names[0]:
            continue
        way = Way(nodes, place, ())
        if names[1:]:
            way = _search_below(place.value, names[1:], nodes, seen, merged=merged)
            if way.place is None:
                way = Way(nodes, place, names[1:])
        if not way.rest:
            return way
        found = min(found, way, key=lambda each: len(each.rest))
    if not (merged or names[1:]):
        return found
    for place in (place for place in pairs if place.merge):
        for inherited in _merged(place.value):
            way = _search_below(inherited[-1], names, (*nodes, *inherited[:-1]), seen, merged=merged)
            if way.place is not None:
                found = min(found, way, key=lambda each: len(each.rest))
    return found


def _merged(value: Mark) -> list[tuple[Mark, ...]]:
    if value.real.kind == "sequence":
        return [(value, child) for child in value.real.children]
    return [(value,)]


# positions of lines


def line_start(text: str, at: int) -> int:
    """Return the start of the line that contains a position.

    A byte order mark does not belong to the line.
    """
    start = max(text.rfind(character, 0, at) for character in _BREAKS) + 1
    return start + 1 if start == 0 and at > 0 and text.startswith(_BOM) else start


def line_end(text: str, at: int) -> int:
    """Return the start of the next line."""
    match = _BREAK.search(text, at)
    return match.end() if match else len(text)


def column(text: str, at: int) -> int:
    return at - line_start(text, at)


def newline(text: str, at: int | None = None) -> str:
    """Return the line break right before a position.

    If no line break is there, return the text's first line break, or a line feed.
    """
    found = _BREAK_BEFORE.search(text, 0, at) if at is not None else None
    found = found or _BREAK.search(text)
    return str(found[0]) if found else "\n"
