"""The text of metadata.yaml as Go's yaml.v2 writes it, with positions in the definition."""

from __future__ import annotations

import re
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
from ..model.source import Source
from ..model.unprintable_characters import printable
from ..parsing.go_scalars import resolved
from ..parsing.yaml_nodes import Collection, Mapping, Node, Scalar, parse
from .go_yaml_emitter import KEY_ORDER, GoEmitter
from .text_origins import GeneratedSource, Piece, piece_of

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
    most: int,
) -> GeneratedSource:
    """Return the text of metadata.yaml. Raises LimitError for more than ``most`` characters."""
    if sum(map(len, properties.values())) + sum(map(_size, rules.values())) > most:
        raise LimitError(f"'{printable(name)}' is larger than {most} bytes")
    paths = sorted(rules, key=KEY_ORDER)
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
        "properties": {key: rule.properties[key] for key in sorted(rule.properties, key=KEY_ORDER)},
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
        text = isinstance(resolved(value, "", "v2"), str)  # yaml.v2 does not quote "<<"
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
    # The text of a key can differ from its path, because YAML reads U+0085 as a line feed or a space.
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
    """Yield the origins of a generated YAML list and of its items.

    The origins are the list ``written`` and its items, in the same order. If ``written`` is None, yield only
    the list, with the origin ``span``.
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
