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

from ..model.source import Source
from ..parsing.go_scalars import resolved
from ..parsing.yaml_nodes import Collection, Mapping, Node, Scalar, parse
from .generated import GeneratedSource, Piece, piece_of
from .go_emitter import GoEmitter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .definition_yaml import Definition
    from .generators import Rule

_BASE_60 = r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"


def metadata_text(
    name: str,
    definition: Definition,
    architecture: str,
    created: int,
    expires: int,
    properties: dict[str, str],
    rules: dict[str, Rule],
) -> GeneratedSource:
    """Return the text of metadata.yaml."""
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
    return GeneratedSource(name, text, tuple(_pieces(root, definition, rules)))


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


def _pieces(root: Mapping, definition: Definition, rules: dict[str, Rule]) -> Iterator[Piece]:
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
    for key, value in templates.pairs():
        entry = rules[_text(key)].entry
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
    """Yield the pieces of a list: each item comes from the item of ``written``."""
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

    This is not a total order. For keys such as "1e3", "10" and "007", Go's result depends on a random order.
    """
    if first == second:
        return 0
    return -1 if _less(first, second) else 1


def _less(first: str, second: str) -> bool:
    for index, (a, b) in enumerate(zip(first, second, strict=False)):
        if a == b:
            continue
        if a.isalpha() and b.isalpha():
            return a < b
        if a.isalpha() or b.isalpha():
            return b.isalpha()
        before = first[:index]
        digits = before[len(before.rstrip("0123456789")) :]
        leading = "1" if "0" in (a, b) and digits.strip("0") else ""
        one, two = (re.match("[0-9]*", text[index:]) for text in (first, second))
        assert one is not None
        assert two is not None
        values = int(leading + one[0] or "0"), int(leading + two[0] or "0")
        if values[0] != values[1]:
            return values[0] < values[1]
        if len(one[0]) != len(two[0]):
            return len(one[0]) < len(two[0])
        return a < b
    return len(first) < len(second)
