"""Edits of single values in a YAML text that leave all other bytes unchanged."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..model.errors import MetadataError
from . import yaml_quoting
from .yaml_aliases import unshared
from .yaml_positions import Mark, Place, Way, column, line_end, line_start, newline, read, search
from .yaml_quoting import Value

_STEP = 2
_COLON = re.compile(r"(?:\s|(?<=\s)#.*+)*+:")
_BLANK = re.compile(r"\s*+")
_QUESTION = re.compile(r"\?[ \t]+\Z")
_TRAILING_COMMA = re.compile(r"(?:\s|(?<=\s)#.*+)*+,")
_TABS = re.compile(r"\A(?: *+\t[ \t]*+(?:\r\n|[\r\n]))+")
_MOST_SHARED = 100
#: maximum number of pairs with the same name that are removed: each removal parses the text again
_MAX_PAIRS = 10


def put(text: str, names: tuple[str, ...], value: Value) -> str:
    """Set the value at the path ``names``, and create missing mappings on that path."""
    text, way = _unshared(text, names, merged=False)
    if way is None:
        return _first(text, _nested(names, value))
    if way.place is None:
        return _insert(text, way.nodes[-1], _nested(way.rest, value))
    if not way.rest:
        return _replace(text, way.place, value)
    if way.place.value.empty:
        return _fill(text, way.place, _nested(way.rest, value))
    if way.place.value.kind != "mapping":
        raise MetadataError(f"'{way.place.name}' is not a mapping")
    return _insert(text, way.place.value, _nested(way.rest, value))


def move(text: str, names: tuple[str, ...], value: Value) -> str:
    """Remove the old pair at the path ``names``, and add a new pair as the last pair of the mapping."""
    # A merged mapping (``<<``) can't override the last pair.
    return put(take(text, names), names, value)


def add(text: str, names: tuple[str, ...], value: Value) -> str:
    """Add a second top-level mapping ``names[0]`` at the end of the text, and set the value in this mapping.

    yaml.v2 merges the two mappings.
    """
    root = read(text)
    if root is None or root.real.kind != "mapping":
        raise MetadataError("the file has no mapping")
    return _insert(text, root, _nested(names, value))


def take(text: str, names: tuple[str, ...], *, hollow: str = "") -> str:
    """Remove every pair at the path ``names``. ``hollow`` replaces a mapping that becomes empty."""
    for _ in range(_MAX_PAIRS):
        text, way = _unshared(text, names, merged=True)
        if way is None or way.rest or way.place is None:
            return text
        text = _without(text, way.place, hollow)
    raise MetadataError(f"'{names[-1]}' occurs {_MAX_PAIRS} times or more")


def has(text: str, names: tuple[str, ...]) -> bool:
    root = read(text)
    return root is not None and not search(root, names, merged=True).rest


def _unshared(text: str, names: tuple[str, ...], *, merged: bool) -> tuple[str, Way | None]:
    """Resolve anchors and aliases on the path ``names``.

    Return the new text, and the existing part of the path, or None for an empty document.
    """
    for _ in range(_MOST_SHARED):
        root = read(text)
        if root is None or (root.null and not root.anchor):
            return text, None
        way = search(root, names, merged=merged)
        nodes = way.nodes
        place = way.place
        start = end = 0
        if place is not None and not way.rest:
            start, end = (place.key if merged else place.value).start, max(place.value.end, place.key.end)
        elif place is not None:
            nodes = (*nodes, place.value)
        after = unshared(text, root, nodes, start, end)
        if after == text:
            return text, way
        text = after
    raise MetadataError("too many anchors")


def _nested(names: tuple[str, ...], value: Value) -> dict[str, Value]:
    for name in reversed(names[1:]):
        value = {name: value}  # type: ignore[dict-item]
    return {names[0]: value}


# --- replacement of a value


def _replace(text: str, place: Place, value: Value) -> str:
    assert not isinstance(value, Mapping), (
        "pairs can be added to a mapping, but the mapping can't be replaced"
    )
    old = place.value
    if isinstance(value, tuple):
        if old.kind == "sequence" and not old.flow and value:
            return _replace_items(text, old, value)
        return _give(text, place, _flow_items(text, old, value, json=_is_json(text, place.mapping)))
    if isinstance(value, str):
        return _give(
            text, place, yaml_quoting.in_style(text[old.start : old.end], value, flow=place.mapping.flow)
        )
    return _give(text, place, yaml_quoting.number(value))


def _give(text: str, place: Place, new: str) -> str:
    """Replace the pair's value with ``new``. Add the colon if the key has none."""
    old = place.value
    if old.end > old.start:
        return text[: old.start] + new + text[old.end :]
    colon = _COLON.match(text, place.key.end, old.start)
    if colon:
        gap = "" if text[old.start - 1] in " \t" else " "
        return text[: old.start] + gap + new + text[old.start :]
    at = place.key.end
    if place.mapping.flow:
        return text[:at] + ": " + new + text[at:]
    indent = " " * column(text, _begin(text, place.key))
    return text[:at] + newline(text) + indent + ": " + new + text[at:]


def _flow_items(text: str, old: Mark, value: tuple[str, ...], *, json: bool) -> str:
    """Return a list in flow style. Unchanged items keep their quotes."""
    kept = {item.text: text[item.start : item.end] for item in old.children if old.flow and not item.target}
    return "[" + ", ".join(kept.get(item) or yaml_quoting.flow(item, json=json) for item in value) + "]"


def _replace_items(text: str, old: Mark, value: tuple[str, ...]) -> str:
    """Replace a list in block style. Unchanged items keep their lines and comments."""
    starts = [text.rindex("-", 0, item.start) for item in old.children]
    indent = " " * column(text, starts[0])
    lines = [line_start(text, start) for start in starts[1:]]
    stop = line_end(text, old.end)
    chunks = [
        text[begin:end]
        for begin, end in zip([starts[0], *lines], [*lines, stop], strict=True)
    ]  # fmt: skip
    end = newline(text)
    kept = {
        item.text: chunk.removeprefix(indent)
        for item, chunk in zip(old.children, chunks, strict=True)
        if not item.target
    }
    new = [kept.get(item) or f"- {yaml_quoting.scalar(item)}{end}" for item in value]
    new = [chunk if line_end(chunk, 0) < len(chunk) or chunk.endswith(end) else chunk + end for chunk in new]
    joined = indent.join(new)
    if stop == len(text) and not text.endswith(end):
        joined = joined.removesuffix(end)
    return text[: starts[0]] + joined + text[stop:]


# --- insertion of a pair


def _first(text: str, pair: dict[str, Value]) -> str:
    """Insert a key and its value into a document that is empty or null."""
    root = read(text)
    lines = _pair_lines(pair, 0, text)
    if root is None:
        return _with_lines(text, len(text), lines)
    text = text[: root.start].rstrip(" \t") + text[root.end :]
    begin, end = line_start(text, root.start), line_end(text, root.start)
    if not text[begin:end].strip():
        return _with_lines(text[:begin] + text[end:], begin, lines)
    # Insert after the dashes (---) that begin a document, or before the dots (...) that end a document.
    return _with_lines(text, begin if text.startswith("...", begin) else end, lines)


def _insert(text: str, mapping: Mark, pair: dict[str, Value]) -> str:
    if mapping.flow:
        return _insert_in_flow(text, mapping, pair)
    indent = column(text, _begin(text, mapping.children[0]))
    last = mapping.children[-1]
    end = max(mapping.children[-2].end, last.reach)
    at = end if last.reach > last.end else line_end(text, end)
    return _with_lines(text, at, _pair_lines(pair, indent, text))


def _with_lines(text: str, at: int, lines: list[str]) -> str:
    """Insert lines before the line at a position.

    If the text has no final line break, the new text has no final line break, either.
    """
    end = newline(text, at)
    new = end.join(lines)
    if not text[:at].strip("\ufeff") or text[:at].endswith(end):
        return text[:at] + new + end + text[at:]
    if _is_open_block(text, at):
        raise MetadataError("the block of text at the end of the file would gain a line ending")
    return text[:at] + end + new + text[at:]


def _is_open_block(text: str, at: int) -> bool:
    """Return whether a final line ending would change the block scalar at the end of the text."""
    root = read(text)
    for mark in root.below() if root is not None else ():
        if mark.style in ("|", ">") and mark.start < at and _BLANK.fullmatch(text, mark.end, at):
            header = text[mark.start : line_end(text, mark.start)].partition(mark.style)[2].partition("#")[0]
            return "-" not in header and ("+" in header or line_end(text, mark.end) >= at)
    return False


def _fill(text: str, place: Place, pair: dict[str, Value]) -> str:
    """Add the first pair to a null or empty mapping, such as ``properties:`` or ``properties: {}``."""
    value = place.value
    if value.kind == "mapping":
        return _insert_in_flow(text, value, pair)
    if place.mapping.flow or not _COLON.match(text, place.key.end, value.start):
        return _give(text, place, yaml_quoting.flow(pair, json=_is_json(text, place.mapping)))  # type: ignore[arg-type]
    if value.end > value.start:
        text = text[: value.start].rstrip(" \t") + text[value.end :]
    colon = _COLON.match(text, place.key.end)
    assert colon is not None
    indent = column(text, _begin(text, place.key)) + _step(text)
    return _with_lines(text, line_end(text, colon.end()), _pair_lines(pair, indent, text))


def _insert_in_flow(text: str, mapping: Mark, pair: dict[str, Value]) -> str:
    json = _is_json(text, mapping)
    new = yaml_quoting.flow(pair, json=json)[1:-1]  # type: ignore[arg-type]
    closing = mapping.end - 1
    if not mapping.children:
        return text[: text.rindex("{", mapping.start, closing) + 1] + new + text[closing:]
    last = max(mapping.children[-2].end, mapping.children[-1].end)
    trailing = _TRAILING_COMMA.match(text, last, closing)
    at = trailing.end() if trailing else last
    comma = "," if text[last - 1] != ":" else " ,"
    first = mapping.children[0].start
    begin = line_start(text, first)
    alone = not text[begin:first].strip() and mapping.start < begin
    gap = newline(text, begin) + text[begin:first] if alone else " "
    return text[:at] + (gap + new + "," if trailing else comma + gap + new) + text[at:]


# --- removal of a pair


def _without(text: str, place: Place, hollow: str) -> str:
    if place.mapping.flow:
        return _without_in_flow(text, place)
    mapping = place.mapping
    begin = _begin(text, place.key)
    if hollow and len(mapping.children) == 2:
        before = text[: mapping.start]
        lead = before.rstrip()
        before = f"{lead} " if lead.endswith(":") else before
        return before + hollow + text[max(place.key.end, place.value.end) :]
    start = line_start(text, begin)
    if text[start:begin].strip():
        if place.key is mapping.children[0] and len(mapping.children) > 2:
            return text[:begin] + text[_begin(text, mapping.children[2]) :]
        raise MetadataError("the key is not at the start of its line")
    last = max(place.key.end, place.value.reach)
    behind = text[last if place.value.reach > place.value.end else line_end(text, last) :]
    # A line of spaces and tabs is valid only after a value.
    return text[:start] + (_TABS.sub("", behind) if place.key is mapping.children[0] else behind)


def _without_in_flow(text: str, place: Place) -> str:
    start, end = _begin(text, place.key), max(place.key.end, place.value.end)
    comma = _TRAILING_COMMA.match(text, end, place.mapping.end - 1)
    if comma and place.key is not place.mapping.children[-2]:
        behind = re.compile(r"[ \t]*(?:(?:\r\n|[\r\n])[ \t]*)?").match(text, comma.end())
        assert behind is not None
        return text[:start] + text[behind.end() :]
    before = text[:start].rstrip()
    if comma:
        return before + text[comma.end() :]
    return before.removesuffix(",") + text[end:]


# --- indentation and style of the file


def _begin(text: str, key: Mark) -> int:
    """Return the start of a pair: the position of its key, or of the question mark before the key."""
    found = _QUESTION.search(text, line_start(text, key.start), key.start)
    return found.start() if found else key.start


def _is_json(text: str, mapping: Mark) -> bool:
    return bool(mapping.children) and text[mapping.children[0].start] == '"'


def _pair_lines(pair: dict[str, Value], indent: int, text: str) -> list[str]:
    """Return the lines of a key and its value. Lists are indented like the lists of the existing rules."""
    lines: list[str] = []
    for name, value in pair.items():
        lead = " " * indent + yaml_quoting.key(name) + ":"
        if isinstance(value, Mapping):
            lines += [lead, *_pair_lines(dict(value), indent + _step_below(text, indent), text)]
        elif isinstance(value, tuple) and value and (offset := _list_offset(text)) is not None:
            lines += [lead, *(" " * (indent + offset) + f"- {yaml_quoting.scalar(item)}" for item in value)]
        elif isinstance(value, str):
            lines.append(f"{lead} {yaml_quoting.scalar(value)}")
        else:
            lines.append(f"{lead} {yaml_quoting.flow(value, json=False)}")
    return lines


def _blocks(mapping: Mark | None) -> list[Place]:
    """Return each pair of a block mapping if the pair's value is a block mapping, too."""
    if mapping is None or mapping.kind != "mapping" or mapping.flow:
        return []
    return [
        place
        for place in mapping.pairs()
        if place.value.kind == "mapping" and not place.value.flow and place.value.children
    ]


def _step(text: str) -> int:
    """Return the number of columns by which the file indents its first nested mapping."""
    for place in _blocks(read(text)):
        return max(1, column(text, place.value.children[0].start) - column(text, _begin(text, place.key)))
    return _STEP


def _step_below(text: str, indent: int) -> int:
    """Return by how many columns the file's rules indent the level below the column ``indent``."""
    if indent:
        for rule in _rules(text):
            if rule.value.kind == "mapping" and rule.value.children and not rule.value.flow:
                return max(
                    1, column(text, rule.value.children[0].start) - column(text, _begin(text, rule.key))
                )
    return _step(text)


def _rules(text: str) -> list[Place]:
    return [
        rule for place in _blocks(read(text)) if place.name == "templates" for rule in place.value.pairs()
    ]


def _list_offset(text: str) -> int | None:
    """Return by how many columns the file indents the lists of ``when``, or None for lists in flow style."""
    for rule in _rules(text):
        fields = rule.value.pairs() if rule.value.kind == "mapping" and not rule.value.flow else ()
        for place in fields:
            if place.name == "when" and place.value.kind == "sequence" and place.value.children:
                if place.value.flow:
                    return None
                dash = text.rindex("-", 0, place.value.children[0].start)
                return max(0, column(text, dash) - column(text, _begin(text, place.key)))
    return 2
