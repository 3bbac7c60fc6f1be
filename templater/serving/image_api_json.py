"""The JSON of the read-only image API, as Incus and LXD send it to clients that they do not trust."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from ..model.source import whole_characters
from .encoded_list import Elements, EncodedList
from .served_image import Served

NEVER = "1970-01-01T00:00:00Z"
_NEVER_USED = "0001-01-01T00:00:00Z"
_ENCODER = json.JSONEncoder(separators=(",", ":"))


def success(metadata: Any) -> bytes:
    answer = {
        "type": "sync", "status": "Success", "status_code": 200, "operation": "", "error_code": 0,
        "error": "", "metadata": metadata,
    }  # fmt: skip
    return encode(answer)


def success_list(elements: Elements, chosen: bytes = b"") -> EncodedList:
    """Return an answer with a list of encoded elements."""
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
    # Clients do the work of a missing extension themselves, such as filtering.
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
