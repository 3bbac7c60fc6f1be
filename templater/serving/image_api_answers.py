"""Answers of the read-only image API, as Incus and LXD send them to clients that they do not trust.

The functions build the JSON, and filter images for clients. A long list is encoded once for all clients.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from itertools import compress
from typing import Any
from urllib.parse import quote

from ..model.errors import InputError
from ..model.unprintable_characters import printable, whole_characters
from .served_image import Served

NEVER = "1970-01-01T00:00:00Z"
_NEVER_USED = "0001-01-01T00:00:00Z"
_ENCODER = json.JSONEncoder(separators=(",", ":"))
#: words of a filter; a quoted value can contain spaces
_WORD = re.compile(r'"([^"]*)"|\'([^\']*)\'|(\S+)')
_MOST_WORDS = 100


def success(metadata: Any) -> bytes:
    answer = {
        "type": "sync", "status": "Success", "status_code": 200, "operation": "", "error_code": 0,
        "error": "", "metadata": metadata,
    }  # fmt: skip
    return encode(answer)


def success_list(elements: Elements, chosen: bytes = b"") -> EncodedList:
    """Return an answer with a list of encoded elements. ``chosen`` selects elements as in ``EncodedList``."""
    start, end = success([]).split(b"[]")
    return EncodedList(elements, start + b"[", b"]" + end, b",", chosen)


def success_of(encoded: bytes) -> bytes:
    """Return a successful answer. ``encoded`` is its value as JSON text."""
    return encoded.join(success([]).split(b"[]"))


def encode(value: Any) -> bytes:
    return _ENCODER.encode(value).encode()


def failure(status: int, message: str) -> bytes:
    answer = {
        "type": "error", "status": "", "status_code": 0, "operation": "", "error_code": status,
        "error": message, "metadata": None,
    }  # fmt: skip
    return encode(answer)


def server_data(certificate: str, fingerprint: str) -> dict[str, Any]:
    """Return the answer to ``/1.0``. ``certificate`` is the server's certificate as PEM text."""
    # If an extension such as filtering is missing here, clients do its work themselves.
    return {
        "api_extensions": ["image_types"], "api_status": "stable", "api_version": "1.0", "auth": "untrusted",
        "public": True, "auth_methods": [], "config": {},
        "environment": {
            "certificate": certificate, "certificate_fingerprint": fingerprint, "server": "templater",
        },
    }  # fmt: skip


def image_data(image: Served) -> dict[str, Any]:
    """Return the JSON of an image without its aliases."""
    return {
        "fingerprint": image.fingerprint, "type": image.type, "architecture": image.architecture,
        "filename": image.files[0].path.rpartition("/")[2], "size": image.size, "public": True,
        "cached": False, "auto_update": False, "properties": dict(image.properties),
        "created_at": _time(image.created), "uploaded_at": _time(image.uploaded),
        "expires_at": _time(image.expires), "last_used_at": _NEVER_USED, "profiles": ["default"],
        "project": "default", "aliases": [],
    }  # fmt: skip


def with_aliases(image: bytes, names: Iterable[str]) -> bytes:
    """Add aliases to the encoded JSON of an image, and return the JSON.

    ``image`` is the encoded result of ``image_data``, which has an empty list of aliases.
    """
    aliases = encode([{"name": name, "description": ""} for name in names])
    return image.removesuffix(b"[]}") + aliases + b"}"


def alias_data(name: str, image: Served) -> dict[str, str]:
    return {"name": name, "description": "", "target": image.fingerprint, "type": image.type}


def image_address(fingerprint: str) -> str:
    return f"/1.0/images/{fingerprint}"


def alias_address(name: str) -> str:
    return f"/1.0/images/aliases/{quote(whole_characters(name), safe='')}"


@lru_cache(1000)
def _time(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return NEVER


class Elements(list[bytes]):
    """The encoded elements of a list."""

    ended = False

    def end(self) -> None:
        """Free the memory of the elements. Answers that have not yet sent all elements are aborted."""
        self.ended = True
        self.clear()


class EncodedList:
    """The bytes of an answer with a list.

    If ``chosen`` is not empty, omit each element whose byte in ``chosen`` is 0. After a call of
    ``elements.end()``, iteration raises ConnectionResetError.
    """

    def __init__(
        self,
        elements: Elements,
        start: bytes = b"",
        end: bytes = b"",
        separator: bytes = b"",
        chosen: bytes = b"",
    ) -> None:
        self.elements, self._chosen = elements, chosen
        self._start, self._end, self._separator = start, end, separator
        self.size = sum(map(len, self))

    def __iter__(self) -> Iterator[bytes]:
        yield self._start
        separator = b""
        for element in compress(self.elements, self._chosen) if self._chosen else self.elements:
            yield separator
            yield element
            separator = self._separator
        if self.elements.ended:
            raise ConnectionResetError("a newer list has replaced the list of this answer")
        yield self._end


def filtered(answers: Mapping[str, EncodedList], recursion: bool, text: str) -> EncodedList:
    """Return the answer with the images that match a filter. Raises InputError for an invalid filter.

    ``answers`` is the attribute ``answers`` of an `image_listing.Listing`.
    """
    matches = matcher(text)
    chosen = bytes(matches(json.loads(image)) for image in answers["images True"].elements)
    return success_list(answers[f"images {recursion}"].elements, chosen)


def matcher(text: str) -> Callable[[dict[str, Any]], bool]:
    """Return a function that tells whether an image matches a filter.

    A filter is a text such as ``properties.os eq debian and not type eq container``. Comparisons ignore case.
    ``and`` and ``or`` apply from left to right. Raises InputError for an invalid filter.
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
            raise InputError(f"invalid filter '{printable(text)[:200]}' (example: properties.os eq debian)")
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
