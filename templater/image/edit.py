"""metadata.yaml changed as text, at the places where reading found things: comments, order and quoting stay.

Every change is decoded again as the daemons would. A text whose decoded meaning is not exactly what
was asked for (anchors that others use, odd layouts) is never given out: that is an error which
says so, and the file is left to an editor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import InputError, MetadataError, UsageError
from ..metadata import Metadata, Rule
from ..metadata_yaml import read_metadata
from ..source import Source, printable
from ..yamltext import Mapping as MappingNode
from ..yamltext import Node, Scalar, Sequence, parse

#: a value as it goes into the text: text, a flag, a number, a list of texts, or a mapping of those
Value = str | bool | int | tuple[str, ...] | Mapping[str, "str | bool | tuple[str, ...]"]

_STEP = 2
# what stays itself without quotes, in a block and inside brackets alike
_PLAIN = re.compile(
    r"[A-Za-z0-9_./+][A-Za-z0-9_./+=@%^~-]*(?:(?: |:(?=[^\s,\[\]{}]))[A-Za-z0-9_./+=@%^~()-]+)*\Z"
)
# what YAML reads as something else than text: numbers, dates, booleans, nulls, the merge key
_OTHER = re.compile(
    r"(?:[-+.]?[0-9][0-9_]*[0-9a-fA-FxXoO.:eE+-]*(?:[Tt ][0-9:.Z+-]*)?|[-+]?\.(?:inf|nan)|\.|-|=|"
    r"true|false|yes|no|on|off|y|n|null|~|<<)\Z",
    re.IGNORECASE,
)

_TRAILING_COMMA = re.compile(r"(?:\s|(?<=\s)#[^\n]*+)*+,")


@dataclass(frozen=True, slots=True)
class NewRule:
    """A rule to be added. Empty fields are left out of the text."""

    path: str
    template: str
    when: tuple[str, ...]
    create_only: bool = False
    uid: str = ""
    gid: str = ""
    mode: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)

    def fields(self) -> dict[str, str | bool | tuple[str, ...]]:
        fields: dict[str, str | bool | tuple[str, ...]] = {"when": self.when}
        if self.create_only:
            fields["create_only"] = True
        fields["template"] = self.template
        for name in ("uid", "gid", "mode"):
            if getattr(self, name):
                fields[name] = getattr(self, name)
        return fields


def set_property(source: Source, name: str, value: str) -> Source:
    return _changed(
        source,
        lambda text: _set(text, ("properties", name), value),
        lambda model: model.properties.__setitem__(name, value),
    )


def unset_property(source: Source, name: str) -> Source:
    if name not in read_metadata(source).properties:
        raise UsageError(
            f"the image has no property '{printable(name)}'", hint=_known(read_metadata(source).properties)
        )
    return _changed(
        source,
        lambda text: _remove(text, ("properties", name)),
        lambda model: model.properties.__delitem__(name),
    )


def set_fact(source: Source, name: str, value: str) -> Source:
    """``architecture``, ``creation_date`` or ``expiry_date``; the dates as whole seconds."""
    wanted: str | int = value if name == "architecture" else int(value)
    return _changed(
        source, lambda text: _set(text, (name,), wanted), lambda model: setattr(model, name, wanted)
    )


def unset_fact(source: Source, name: str) -> Source:
    nothing: object = "" if name == "architecture" else 0
    return _changed(source, lambda text: _remove(text, (name,)), lambda model: setattr(model, name, nothing))


def add_rule(source: Source, rule: NewRule) -> Source:
    if any(old.path == rule.path for old in read_metadata(source).rules):
        raise UsageError(
            f"there is a rule for '{printable(rule.path)}' already", hint="edit it, or delete it first"
        )
    decoded = _rule(
        Rule(
            rule.path,
            rule.template,
            rule.when,
            rule.create_only,
            rule.properties,
            rule.uid,
            rule.gid,
            rule.mode,
        )
    )
    fields: dict[str, str | bool | tuple[str, ...]] = rule.fields()
    return _changed(
        source,
        lambda text: _set(text, ("templates", rule.path), fields),
        lambda model: model.rules.append(decoded),
    )


def change_rule(source: Source, path: str, fields: Mapping[str, str | bool | tuple[str, ...]]) -> Source:
    """Fields of one rule; an empty text takes a field away."""
    for name, value in fields.items():
        source = _change_field(source, path, name, value)
    return source


def _change_field(source: Source, path: str, name: str, value: str | bool | tuple[str, ...]) -> Source:
    def change(model: _Meaning) -> None:
        for rule in model.rules:
            if rule["path"] == path:
                rule[name] = value

    place = ("templates", path, name)
    if value == "" or value is False:
        return _changed(source, lambda text: _remove(text, place) if _has(text, place) else text, change)
    return _changed(source, lambda text: _set(text, place, value), change)


def remove_rule(source: Source, path: str) -> Source:
    def change(model: _Meaning) -> None:
        model.rules = [rule for rule in model.rules if rule["path"] != path]

    return _changed(source, lambda text: _remove(text, ("templates", path)), change)


# what the text means


def _changed(source: Source, edit: Callable[[str], str], change: Callable[[_Meaning], object]) -> Source:
    """The edited text, if its meaning is the old one with that change and nothing else."""
    wanted = _meaning(read_metadata(source))
    change(wanted)
    try:
        edited = Source(source.name, edit(source.text))
        found = _meaning(read_metadata(edited))
    except MetadataError as error:
        raise _not_in_place(source, str(error)) from error
    if found != wanted:
        raise _not_in_place(source, "something else would change too: is it an anchor, or repeated?")
    return edited


def _not_in_place(source: Source, why: str) -> InputError:
    return InputError(
        f"{source.name} can't be changed in place: {why}", hint="change it in an editor: templater image edit"
    )


@dataclass(slots=True)
class _Meaning:
    """What the daemons make of a text, to be compared."""

    architecture: str
    creation_date: int
    expiry_date: int
    properties: dict[str, str]
    rules: list[dict[str, object]]


def _meaning(metadata: Metadata) -> _Meaning:
    return _Meaning(
        metadata.architecture,
        metadata.creation_date,
        metadata.expiry_date,
        dict(metadata.properties),
        [_rule(rule) for rule in metadata.rules],
    )


def _rule(rule: Rule) -> dict[str, object]:
    return {
        "path": rule.path,
        "template": rule.template,
        "when": tuple(rule.when),
        "create_only": rule.create_only,
        "properties": dict(rule.properties),
        "uid": rule.uid,
        "gid": rule.gid,
        "mode": rule.mode,
        "null": rule.null,
    }


def _known(names: Iterable[str]) -> str:
    return "it has " + ", ".join(printable(name) for name in names) if names else "it has none"


# where things stand


@dataclass(slots=True)
class _Place:
    """A key's mapping and its pair in it (the last one of that name: it is the one that counts)."""

    mapping: MappingNode
    key: Scalar
    value: Node


def _root(text: str) -> MappingNode:
    root = parse(Source("metadata.yaml", text))
    if not isinstance(root, MappingNode):
        raise MetadataError("metadata.yaml is not a mapping")
    return root


def _find(mapping: Node, name: str) -> _Place | None:
    if not isinstance(mapping, MappingNode):
        return None
    found = None
    for key, value in mapping.pairs():
        if isinstance(key, Scalar) and key.text == name:
            found = _Place(mapping, key, value)
    return found


def _has(text: str, names: tuple[str, ...]) -> bool:
    node: Node = _root(text)
    for name in names:
        place = _find(node, name)
        if place is None:
            return False
        node = place.value
    return True


# changing the text


def _set(text: str, names: tuple[str, ...], value: Value) -> str:
    root = _root(text)
    node: Node = root
    for depth, name in enumerate(names):
        place = _find(node, name)
        if place is None:
            for missing in reversed(names[depth + 1 :]):
                value = {missing: value}  # type: ignore[dict-item]
            assert isinstance(node, MappingNode)
            return _insert(text, node, name, value)
        if depth == len(names) - 1:
            return _replace(text, place, value)
        if _is_empty(place.value):
            for missing in reversed(names[depth + 1 :]):
                value = {missing: value}  # type: ignore[dict-item]
            return _fill(text, place, value)
        node = place.value
    raise AssertionError("no name")


def _is_empty(node: Node) -> bool:
    if isinstance(node, MappingNode):
        return not node.children
    return isinstance(node, Scalar) and node.text in ("", "~", "null", "Null", "NULL")


def _replace(text: str, place: _Place, value: Value) -> str:
    start, end = _extent(text, place)
    old = text[start:end]
    if isinstance(value, str):
        new = _in_style(old, value, flow=place.mapping.flow)
    elif isinstance(value, int):
        new = _number(value)
    elif isinstance(value, tuple):
        return _replace_list(text, place, value)
    else:
        raise AssertionError("a mapping is filled, not replaced")
    if start == end and text[start - 1] == ":":
        new = " " + new
    if old.endswith("\n") and not new.endswith("\n"):  # a block scalar's span takes its line's end along
        new += _newline(text)
    return text[:start] + new + text[end:]


def _replace_list(text: str, place: _Place, value: tuple[str, ...]) -> str:
    start, end = _extent(text, place)
    node = place.value
    if isinstance(node, Sequence) and not node.flow and value and node.children:
        column = _column(text, node.start)
        lines = (_newline(text) + " " * column).join(f"- {_scalar(item)}" for item in value)
        return text[:start] + lines + text[end:]
    return text[:start] + _flow_list(value, json=_is_json(text, place.mapping)) + text[end:]


def _extent(text: str, place: _Place) -> tuple[int, int]:
    """Where the value stands; for an alias where the alias does, not what it stands for."""
    colon = text.index(":", place.key.end)
    value = place.value
    if value.start > colon and (isinstance(value, Scalar) or value.end > value.start):
        line_start = text.rfind("\n", 0, value.start) + 1
        after = _next_start(place)
        if after is None or value.start < after or line_start > colon:
            return value.start, max(value.start, value.end)
    alias = re.compile(r"\s*(\*[^\s,\]}]+)").match(text, colon + 1)
    if alias:
        return alias.start(1), alias.end(1)
    if value.start == value.end:
        return colon + 1, colon + 1
    raise MetadataError("the value stands somewhere else in the file")


def _next_start(place: _Place) -> int | None:
    children = place.mapping.children
    for index, child in enumerate(children):
        if child is place.key and index + 2 < len(children):
            return children[index + 2].start
    return None


def _insert(text: str, mapping: MappingNode, name: str, value: Value) -> str:
    if mapping.flow:
        return _insert_in_flow(text, mapping, name, value)
    newline = _newline(text)
    indent = _column(text, mapping.children[0].start)
    lines = _block(name, value, indent, text)
    at = _line_end(text, _content_end(text, mapping))
    before = "" if at == 0 or text[:at].endswith("\n") else newline
    return text[:at] + before + "".join(line + newline for line in lines) + text[at:]


def _fill(text: str, place: _Place, value: Value) -> str:
    """A value for a key that has none: ``properties:``, ``properties: ~`` or ``properties: {}``."""
    assert isinstance(value, Mapping)
    ((name, inner),) = value.items()
    if isinstance(place.value, MappingNode):
        return _insert_in_flow(text, place.value, name, inner)
    if place.mapping.flow:
        start, end = _extent(text, place)
        blank = "" if text[start - 1 : start] == " " else " "
        return text[:start] + blank + _flow({name: inner}, json=_is_json(text, place.mapping)) + text[end:]
    start, end = _extent(text, place)
    text = text[:start].rstrip(" ") + text[end:] if end > start else text
    newline = _newline(text)
    at = _line_end(text, place.key.end)
    indent = _column(text, place.key.start) + _step(text)
    before = "" if text[:at].endswith("\n") else newline
    lines = _block(name, inner, indent, text)
    return text[:at] + before + "".join(line + newline for line in lines) + text[at:]


def _insert_in_flow(text: str, mapping: MappingNode, name: str, value: Value) -> str:
    json = _is_json(text, mapping)
    pair = f"{_key(name, json=json, flow=True)}: {_flow(value, json=json)}"
    closing = mapping.end - 1
    if not mapping.children:
        return text[: mapping.start + 1] + pair + text[closing:]
    last = _flow_value_end(text, mapping)
    trailing = _TRAILING_COMMA.match(text, last, closing)
    comma, after = ("", trailing.end()) if trailing else (",", last)
    first = mapping.children[0].start
    line_start = text.rfind("\n", 0, first) + 1
    if text[line_start:first].strip() == "" and text.count("\n", mapping.start, closing):
        gap = _newline(text) + text[line_start:first]
    else:
        gap = " "
    return text[:after] + comma + gap + pair + text[after:]


def _flow_value_end(text: str, mapping: MappingNode) -> int:
    """Where the last value of a flow mapping ends; an alias ends where its own name does."""
    key, value = list(mapping.pairs())[-1]
    assert isinstance(key, Scalar)
    return max(key.end, _extent(text, _Place(mapping, key, value))[1])


def _remove(text: str, names: tuple[str, ...]) -> str:
    while True:
        node: Node = _root(text)
        place = None
        for name in names:
            place = _find(node, name)
            if place is None:
                return text
            node = place.value
        assert place is not None
        text = _remove_pair(text, place)


def _remove_pair(text: str, place: _Place) -> str:
    _, end = _extent(text, place)
    start = place.key.start
    if place.mapping.flow:
        behind = re.compile(r"[ \t]*,[ \t]*(?:\r?\n[ \t]*)?").match(text, end)
        if behind:
            return text[:start] + text[behind.end() :]
        before = re.compile(r",\s*\Z").search(text, 0, start)
        return text[: before.start() if before else start] + text[end:]
    line_start = text.rfind("\n", 0, start) + 1
    if text[line_start:start].strip(" "):
        raise MetadataError("the key does not begin its line")
    value_end = _end_of(text, place.value, end)
    return text[:line_start] + text[_line_end(text, max(value_end, place.key.end)) :]


def _content_end(text: str, mapping: MappingNode) -> int:
    """Where the last pair of a block mapping ends."""
    key, value = list(mapping.pairs())[-1]
    assert isinstance(key, Scalar)
    _, end = _extent(text, _Place(mapping, key, value))
    return max(key.end, _end_of(text, value, end))


def _end_of(text: str, node: Node, end: int) -> int:
    """The end of a value's own text: a block scalar's span reaches to what follows it."""
    if isinstance(node, MappingNode | Sequence) and not node.flow and node.children and node.end == end:
        last = node.children[-1]
        return _end_of(text, last, last.end) if last.start >= node.start else end
    return len(text[:end].rstrip()) if end else end


def _line_end(text: str, at: int) -> int:
    newline = text.find("\n", at)
    return len(text) if newline < 0 else newline + 1


def _column(text: str, at: int) -> int:
    line_start = text.rfind("\n", 0, at) + 1
    if text[line_start:at].strip(" \ufeff"):
        raise MetadataError("a mapping begins in the middle of a line")
    return at - line_start - text.count("\ufeff", line_start, at)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _step(text: str) -> int:
    """How far the author indents: as the first indented mapping is."""
    for _, value in _root(text).pairs():
        if isinstance(value, MappingNode) and not value.flow and value.children:
            return max(1, _column(text, value.children[0].start))
    return _STEP


def _is_json(text: str, mapping: MappingNode) -> bool:
    return bool(mapping.children) and text[mapping.children[0].start] == '"'


# values as text


def _block(name: str, value: Value, indent: int, text: str) -> list[str]:
    """A pair as lines; lists as the file's other rules have theirs."""
    lead = " " * indent + _key(name) + ":"
    if isinstance(value, Mapping):
        inner = indent + _step_below(text, indent)
        return [lead, *(line for key, item in value.items() for line in _block(key, item, inner, text))]
    if isinstance(value, int):
        return [f"{lead} {_number(value)}"]
    if isinstance(value, str):
        return [f"{lead} {_scalar(value)}"]
    offset = _list_offset(text)
    if offset is None or not value:
        return [f"{lead} {_flow_list(value, json=False)}"]
    return [lead, *(" " * (indent + offset) + f"- {_scalar(item)}" for item in value)]


def _step_below(text: str, indent: int) -> int:
    rules = _find(_root(text), "templates")
    for node in (rules.value,) if rules else ():
        if isinstance(node, MappingNode) and not node.flow:
            for _, rule in node.pairs():
                if (
                    isinstance(rule, MappingNode)
                    and not rule.flow
                    and rule.children
                    and rule.start > node.start
                ):
                    step = _column(text, rule.children[0].start) - _column(text, node.children[0].start)
                    return max(1, step)
    return _step(text)


def _list_offset(text: str) -> int | None:
    """How the file indents ``when`` lists under their key; None for lists in brackets."""
    rules = _find(_root(text), "templates")
    if rules is None or not isinstance(rules.value, MappingNode):
        return 2
    for _, rule in rules.value.pairs():
        when = _find(rule, "when")
        if (
            when is not None
            and isinstance(when.value, Sequence)
            and when.value.children
            and not when.mapping.flow
        ):
            if when.value.flow:
                return None
            return max(0, _column(text, when.value.start) - _column(text, when.key.start))
    return 2


def _key(name: str, *, json: bool = False, flow: bool = False) -> str:
    if json:
        return _double(name)
    return _scalar(name, flow=flow)


def _flow(value: Value, *, json: bool) -> str:
    if isinstance(value, Mapping):
        pairs = (
            f"{_key(key, json=json, flow=True)}: {_flow(item, json=json)}" for key, item in value.items()
        )
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, int):
        return _number(value)
    if isinstance(value, str):
        return _double(value) if json else _scalar(value, flow=True)
    return _flow_list(value, json=json)


def _number(value: int) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _flow_list(items: tuple[str, ...], *, json: bool) -> str:
    return "[" + ", ".join(_double(item) if json else _scalar(item, flow=True) for item in items) + "]"


def _scalar(value: str, *, flow: bool = False) -> str:
    """Text that YAML reads as text: plain where it is one beyond doubt, else quoted."""
    if _PLAIN.match(value) and not _OTHER.match(value) and not (flow and ":" in value):
        return value
    return _quoted(value)


def _quoted(value: str) -> str:
    if value.isprintable():
        return (
            '"' + value + '"'
            if '"' not in value and "\\" not in value
            else "'" + value.replace("'", "''") + "'"
        )
    return _double(value)


def _in_style(old: str, value: str, *, flow: bool) -> str:
    """The value quoted as the old one was, where that can hold it."""
    if old.startswith("'") and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    if old.startswith('"'):
        return _double(value)
    # text fields keep their scalar's text: what was a plain number may be another plain number
    if (
        _OTHER.match(old)
        and _PLAIN.match(value)
        and value not in ("~", "<<", "-", "=")
        and value.lower() != "null"
    ):
        return value
    return _scalar(value, flow=flow)


# those that JSON knows too
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _double(value: str) -> str:
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _escaped(c)) for c in value) + '"'


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:
        raise UsageError("a value that is not UTF-8 can't stand in metadata.yaml")
    return f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
