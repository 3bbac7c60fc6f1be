"""Escapes in JSON texts: bytes that are not UTF-8, and characters that a terminal would interpret."""

from __future__ import annotations

from ..model.unprintable_characters import printable


def json_text(text: str) -> str:
    """Return text for JSON. In text that is not UTF-8, escape the invalid bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return printable(text)
    return text


def safe_json(text: str) -> str:
    """Escape the characters in a JSON text that can change how a terminal shows it."""
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(
        [c if c.isprintable() or c == "\n" or not _is_basic(c) else f"\\u{ord(c):04x}" for c in text]
    )


def _is_basic(c: str) -> bool:
    """Return whether JSON can write a character as one ``\\u`` and four digits.

    This is possible for each character up to U+FFFF, except for surrogates.
    """
    return ord(c) < 0xD800 or 0xE000 <= ord(c) < 0x10000
