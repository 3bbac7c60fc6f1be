"""Quoting of values in YAML.

A new value has quotes only if it would be ambiguous without quotes. If possible, a changed value keeps the
quoting style of the old value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..model.errors import UsageError

#: a value to write: text, boolean, number, a list of texts, or a mapping of these
Value = str | bool | int | tuple[str, ...] | Mapping[str, "str | bool | tuple[str, ...]"]

# text that needs no quotes in block or flow style
_PLAIN = re.compile(
    r"[A-Za-z0-9_./+][A-Za-z0-9_./+=@%^~-]*(?:(?: |:(?=[^\s,\[\]{}]))[A-Za-z0-9_./+=@%^~()-]+)*\Z"
)
# plain words that YAML does not parse as strings: numbers, dates, booleans, nulls, the merge key
_OTHER = re.compile(
    r"(?:[-+.]?[0-9][0-9_]*+[0-9a-fA-FxXoO.:eE+-]*+(?:[Tt ][0-9:.Z+-]*)?|[-+]?\.(?:inf|nan)|\.|-|=|"
    r"true|false|yes|no|on|off|y|n|null|~|<<)\Z",
    re.IGNORECASE,
)
# dates, which yaml.v4 never parses as strings
_DATE = re.compile(r"[0-9]{4}-[0-9]")


def scalar(value: str, *, flow: bool = False) -> str:
    """Return a string as YAML. The result has quotes only if the string would be ambiguous without quotes."""
    if _PLAIN.match(value) and not _OTHER.match(value) and not (flow and ":" in value):
        return value
    return _quoted(value)


def key(name: str, *, json: bool = False, flow: bool = False) -> str:
    return double(name) if json else scalar(name, flow=flow)


def number(value: int) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def flow(value: Value, *, json: bool) -> str:
    """Return a value in flow style: on one line, with brackets or braces."""
    if isinstance(value, Mapping):
        pairs = (
            f"{key(name, json=json, flow=True)}: {flow(item, json=json)}" for name, item in value.items()
        )
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, int):
        return number(value)
    if isinstance(value, str):
        return double(value) if json else scalar(value, flow=True)
    return "[" + ", ".join(flow(item, json=json) for item in value) + "]"


def in_style(old: str, value: str, *, flow: bool) -> str:
    """Return the value in the quoting style of the old value, if that style can express the new value."""
    if old.startswith("'") and value.isprintable():
        return _single(value)
    if old.startswith('"'):
        return double(value)
    # Go reads a plain number into a string field unchanged, so a new number needs no quotes.
    if _OTHER.match(old) and _PLAIN.match(value) and not _DATE.match(value) and not _nothing(value):
        return value
    return scalar(value, flow=flow)


def _nothing(value: str) -> bool:
    return value in ("~", "<<", "-", "=") or value.lower() == "null"


def _quoted(value: str) -> str:
    if not value.isprintable():
        return double(value)
    return f'"{value}"' if '"' not in value and "\\" not in value else _single(value)


def _single(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


# escapes that JSON and YAML share
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def double(value: str) -> str:
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _escaped(c)) for c in value) + '"'


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:
        raise UsageError("a value that is not UTF-8 can't be written to metadata.yaml")
    return f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
