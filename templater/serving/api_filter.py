"""Filters of the image API, with which clients ask for some of a server's images."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from ..model.errors import InputError
from ..model.source import printable

#: words of a filter; a quoted value can contain spaces
_WORD = re.compile(r'"([^"]*)"|\'([^\']*)\'|(\S+)')
_MOST_WORDS = 100


def matcher(text: str) -> Callable[[dict[str, Any]], bool]:
    """Return a function for a filter such as ``properties.os eq debian and type eq container``.

    The function tells whether an image matches.

    ``not`` before a field inverts a comparison. Comparisons ignore case. ``and`` and ``or`` apply from left
    to right. Raises InputError for an invalid filter.
    """
    clauses = _clauses(text)
    return lambda image: _matches(image, clauses)


def _clauses(text: str) -> list[tuple[str, bool, str, str]]:
    """Parse a filter into clauses: (and/or, whether the values must be equal, field, value)."""
    words = ["".join(found.groups("")) for found in _WORD.finditer(text)]
    if len(words) > _MOST_WORDS:
        raise InputError(f"the filter has more than {_MOST_WORDS} words")
    clauses = []
    logical = "and"
    while True:
        negated = words[:1] == ["not"]
        field, operator, value, *words = (*words[negated:], "", "", "")[: max(3, len(words) - negated)]
        if not value or operator not in ("eq", "ne"):
            raise InputError(f"invalid filter '{printable(text)[:200]}'; an example: properties.os eq debian")
        clauses.append((logical, (operator == "eq") != negated, field, value))
        if not words:
            return clauses
        logical, *words = words
        if logical not in ("and", "or"):
            raise InputError(f"unknown word '{printable(logical)[:100]}' in the filter; use 'and' or 'or'")


def _matches(image: dict[str, Any], clauses: Iterable[tuple[str, bool, str, str]]) -> bool:
    result = True
    for logical, equal, field, value in clauses:
        own = (_value(image, field).casefold() == value.casefold()) == equal
        result = (result and own) if logical == "and" else (result or own)
    return result


def _value(image: dict[str, Any], field: str) -> str:
    if field.startswith("properties."):
        return str(image["properties"].get(field.removeprefix("properties."), ""))
    value = image.get(field, "")
    return str(value).lower() if isinstance(value, bool) else str(value)
