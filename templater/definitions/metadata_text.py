"""The text of metadata.yaml as Go's yaml.v2 writes it, with positions in the definition."""

from __future__ import annotations

import re
from functools import cmp_to_key
from io import StringIO
from typing import TYPE_CHECKING, Any

from yaml.events import (
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from ..model.errors import LimitError
from ..model.source import Source, printable
from ..parsing.go_scalars import resolved
from ..parsing.yaml_nodes import Collection, Mapping, Node, Scalar, parse
from .go_emitter import GoEmitter
from .text_origins import GeneratedSource, Piece, piece_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .definition_yaml import Definition
    from .generators import Rule

_DIGITS = re.compile("[0-9]*")
_BASE_60 = r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"


def metadata_text(
    name: str,
    definition: Definition,
    architecture: str,
    created: int,
    expires: int,
    properties: dict[str, str],
    rules: dict[str, Rule],
    most: int,
) -> GeneratedSource:
    """Return the text of metadata.yaml. Raises LimitError for more than ``most`` characters."""
    if sum(map(len, properties.values())) + sum(map(_size, rules.values())) > most:
        raise LimitError(f"'{printable(name)}' is larger than {most} bytes")
    paths = sorted(rules, key=cmp_to_key(_order))
    data = {
        "architecture": architecture,
        "creation_date": created,
        "expiry_date": expires,
        "properties": properties,
        "templates": {path: _rule_data(rules[path]) for path in paths},
    }
    stream = StringIO()
    emitter = GoEmitter(stream, allow_unicode=True)
    document = [DocumentStartEvent(explicit=False), *_events(data), DocumentEndEvent(explicit=False)]
    for event in (StreamStartEvent(), *document, StreamEndEvent()):
        emitter.emit(event)
    text = stream.getvalue()
    root = parse(Source(name, text))
    assert isinstance(root, Mapping)
    return GeneratedSource(name, text, tuple(_pieces(root, definition, rules, paths)))


def _size(rule: Rule) -> int:
    """Return the number of characters of a rule's texts."""
    pairs = rule.properties.items()
    return (
        len(rule.entry.path) + sum(map(len, rule.when)) + sum(len(key) + len(value) for key, value in pairs)
    )


def _rule_data(rule: Rule) -> dict[str, Any]:
    return {
        "when": list(rule.when),
        "create_only": False,
        "template": rule.template,
        "properties": {key: rule.properties[key] for key in sorted(rule.properties, key=cmp_to_key(_order))},
    }


def _events(value: Any) -> Iterator[Event]:
    if isinstance(value, dict):
        yield MappingStartEvent(None, None, True, flow_style=not value)
        for key, item in value.items():
            yield from _events(key)
            yield from _events(item)
        yield MappingEndEvent()
    elif isinstance(value, list):
        yield SequenceStartEvent(None, None, True, flow_style=not value)
        for item in value:
            yield from _events(item)
        yield SequenceEndEvent()
    elif isinstance(value, str):
        text = isinstance(resolved(value, "", "v2"), str) and value != "<<"
        plain = text and not re.fullmatch(_BASE_60, value)
        style = "|" if "\n" in value else None if plain else '"'
        yield ScalarEvent(None, None, (plain, True), value, style=style)
    else:
        yield ScalarEvent(None, None, (True, False), str(value).lower())


def _pieces(
    root: Mapping, definition: Definition, rules: dict[str, Rule], paths: list[str]
) -> Iterator[Piece]:
    yield Piece(root.start, len(root.source.text), definition.span("image"))
    fields = {key.text: value for key, value in root.pairs() if isinstance(key, Scalar)}
    origins = {"architecture": "architecture", "expiry_date": "expiry"}
    for name, origin in origins.items():
        yield _piece(fields[name], definition.nodes.get(f"image.{origin}"), definition.span("image"))
    properties = fields["properties"]
    assert isinstance(properties, Mapping)
    for key, value in properties.pairs():
        origin = {"os": "distribution"}.get(_text(key), _text(key))
        node = definition.nodes.get(f"image.{origin}")
        if node is not None:
            yield Piece(key.start, value.end, node.span)
    templates = fields["templates"]
    assert isinstance(templates, Mapping)
    # The text can have other characters than the path: YAML reads U+0085 as a line feed or a space.
    for path, (key, value) in zip(paths, templates.pairs(), strict=False):
        entry = rules[path].entry
        yield Piece(key.start, value.end, entry.span("generator"))
        yield _piece(key, entry.node("path"), entry.span("name", "generator"))
        assert isinstance(value, Mapping)
        for label, field in value.pairs():
            if _text(label) == "template":
                yield Piece(label.start, field.end, entry.span("name", "generator"))
            elif _text(label) == "when":
                node = entry.node("template.when") if entry.generator != "cloud-init" else None
                yield from _same_shape(field, node, entry.span("template.when", "generator"))
            elif _text(label) == "properties":
                yield Piece(label.start, field.end, entry.span("template.properties", "content", "generator"))
                assert isinstance(field, Collection)
                for child in field.children:
                    at = entry.node(f"template.properties.{_text(child)}")
                    if at is not None:
                        yield Piece(child.start, child.end, at.span)


def _same_shape(generated: Node, written: Node | None, span: Any) -> Iterator[Piece]:
    """Yield a piece for a generated list, and a piece for each item.

    ``written`` is the list in the definition. Each item has its origin in the item of ``written`` with the
    same index.

    If ``written`` is None, ``span`` is the origin of the generated list.
    """
    yield Piece(generated.start, generated.end, span if written is None else written.span)
    if isinstance(generated, Collection) and isinstance(written, Collection):
        for child, origin in zip(generated.children, written.children, strict=False):
            yield _piece(child, origin, origin.span)


def _piece(generated: Node, written: Node | None, span: Any) -> Piece:
    if isinstance(generated, Scalar) and isinstance(written, Scalar) and generated.text == written.text:
        return piece_of(generated.start, generated.text, written, span)
    return Piece(generated.start, generated.end, span if written is None else written.span)


def _text(node: Node) -> str:
    return node.text if isinstance(node, Scalar) else ""


def _order(first: str, second: str) -> int:
    """Compare two keys as yaml.v2 sorts them: numbers by their value, and letters after other characters.

    The order is not total. For keys such as "1e3", "10" and "007", Go's result depends on a random order.
    """
    if first == second:
        return 0
    return -1 if _less(first, second) else 1


def _less(first: str, second: str) -> bool:
    index = _common(first, second)
    if index == min(len(first), len(second)):
        return len(first) < len(second)
    a, b = first[index], second[index]
    if a.isalpha() and b.isalpha():
        return a < b
    if a.isalpha() or b.isalpha():
        return b.isalpha()
    before = first[:index]
    digits = before[len(before.rstrip("0123456789")) :]
    leading = "1" if "0" in (a, b) and digits.strip("0") else ""
    one, two = (_DIGITS.match(text, index) for text in (first, second))
    assert one is not None
    assert two is not None
    values = _as_int64(leading + one[0]), _as_int64(leading + two[0])
    if values[0] != values[1]:
        return values[0] < values[1]
    if len(one[0]) != len(two[0]):
        return len(one[0]) < len(two[0])
    return a < b


def _common(first: str, second: str) -> int:
    """Return the length of the texts' longest common prefix. Bisection makes this fast for long prefixes."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _as_int64(digits: str) -> int:
    """Return the 64-bit integer that Go computes from decimal digits, including overflows.

    Only the last 64 digits affect the result, because 10**64 is a multiple of 2**64.
    """
    number = int(digits[-64:] or "0") % (1 << 64)
    return number - (1 << 64) if number >> 63 else number
