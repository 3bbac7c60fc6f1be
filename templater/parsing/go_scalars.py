"""Conversion of YAML scalars to values, as in the file resolve.go of yaml.v2 and yaml.v4."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from .yaml_nodes import Node, Rules, Scalar

_TRUE = ("y", "Y", "yes", "Yes", "YES", "on", "On", "ON")
_FALSE = ("n", "N", "no", "No", "NO", "off", "Off", "OFF")
BOOLEANS: Final = dict.fromkeys(_TRUE, True) | dict.fromkeys(_FALSE, False)
_WORDS: Final[dict[str, "bool | float | None"]] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
# These patterns are compiled on first use, so that importing this module stays fast.
_INTEGER = r"[+-]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)"
_FLOAT = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
_DATE = (
    r"(?a)(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:[Tt](\d{1,2}):(\d{1,2}):(\d{1,2})(?:[.,]\d+)?(?:Z|[+-]\d\d:\d\d)"
    r"| (\d{1,2}):(\d{1,2}):(\d{1,2})(?:[.,]\d+)?)?"
)


def resolved(text: str, tag: str, rules: Rules) -> "str | int | float | bool | datetime | None":
    """Return the value to which Go converts a scalar. ``tag`` is the scalar's explicit tag, or empty."""
    if tag == "!!str":
        return text
    if text in _WORDS:
        return _WORDS[text]
    if rules == "v2" and text in BOOLEANS:
        return BOOLEANS[text]
    if text[0] not in "+-.0123456789":
        return text
    if tag in ("", "!!timestamp"):
        date = _timestamp(text)
        if date is not None:
            return date
    plain = text if text[0] == "." else text.replace("_", "")
    if re.fullmatch(_INTEGER, plain):
        number = _integer(plain)
        if -(2**63) <= number < 2**64 and not (plain[0] in "+-" and number >= 2**63):
            return number
    if re.fullmatch(_FLOAT, plain):
        value = float(plain)
        if abs(value) != float("inf"):
            return value
    return text


def _integer(text: str) -> int:
    sign = -1 if text[0] == "-" else 1
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        return sign * int(digits, 8)
    # A number with more than 20 digits is out of range for Go. Python refuses to parse more than 4300 digits.
    if len(digits) > 20 and digits.isdigit():
        return sign << 64
    return sign * int(digits, 0)


def _timestamp(text: str) -> datetime | None:
    match = re.fullmatch(_DATE, text) if text[4:5] == "-" else None
    if match is None:
        return None
    year, month, day, *clock = (int(part) if part else 0 for part in match.groups())
    hour, minute, second = clock[:3] if match[4] else clock[3:]
    try:
        return datetime(year or 2000, month, day, hour, minute, second)
    except ValueError:
        return None


def whole_number(value: float, rules: str) -> "int | None":
    """Convert a float to an integer as yaml.v2 or yaml.v4 does. Return None if the conversion fails."""
    if abs(value) < 2**63 and (rules == "v2" or value == int(value)):
        return int(value)
    return -(2**63) if rules == "v2" and value < 0 else None


def tag_of(value: object) -> str:
    """Return the YAML tag for the type of a value, such as "!!int"."""
    if isinstance(value, bool):
        return "!!bool"
    if isinstance(value, datetime):
        return "!!timestamp"
    return {int: "!!int", float: "!!float", str: "!!str"}.get(type(value), "!!null")


def is_null(node: Node, rules: Rules, pointer: bool = False) -> bool:
    """Return whether Go decodes a node as null.

    ``pointer`` tells whether Go decodes the node into a pointer. For pointers, yaml.v2 does not accept the
    spellings Null and NULL.
    """
    if not isinstance(node, Scalar):
        return False
    if node.tag:
        return node.tag == "!!null" and node.text in ("", "~", "null", "Null", "NULL")
    if not node.plain:
        return False
    short = ("", "~", "null")
    return node.text in (short if pointer and rules == "v2" else (*short, "Null", "NULL"))


def is_merge(node: Node) -> bool:
    """Return whether a key is the merge key ``<<``."""
    return isinstance(node, Scalar) and node.text == "<<" and (node.plain or node.tag == "!!merge")


def is_text(node: Scalar, rules: Rules) -> bool:
    """Return whether Go decodes a scalar as a string if the target has the type ``interface{}``."""
    return not (node.plain or node.tag) or isinstance(resolved(node.text, node.tag, rules), str)


def quoted(text: str) -> str:
    """Quote a text as the errors of Go's YAML libraries do."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
