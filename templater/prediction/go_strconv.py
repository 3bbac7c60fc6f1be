"""Functions that parse numbers and quote text like Go. Their errors equal the errors of the daemons."""

from __future__ import annotations

from .errno_errors import Fails


def go_decimal(text: str, complaint: str) -> int:
    """Parse like Go's ParseInt(text, 10, 64).

    Raises Fails for an invalid text. The message consists of ``complaint`` and Go's error.
    """
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        raise Fails(f"{complaint}: strconv.ParseInt: parsing {quoted(text)}: invalid syntax")
    # Leading zeros are removed, because Python refuses to parse more than some thousand digits.
    significant = digits.lstrip("0") or "0"
    number = int(text[: len(text) - len(digits)] + significant) if len(significant) < 20 else 1 << 64
    if not -(1 << 63) <= number < 1 << 63:
        raise Fails(f"{complaint}: strconv.ParseInt: parsing {quoted(text)}: value out of range")
    return number


def parse_error(text: str) -> str:
    digits = text.lstrip("+-")
    reason = (
        "value out of range"
        if digits.isdigit() and digits.isascii() and len(digits) > 18
        else "invalid syntax"
    )
    return f"strconv.ParseInt: parsing {quoted(text)}: {reason}"


def quoted(text: str) -> str:
    """Quote like Go's %q, for the characters that occur in paths."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b"}
    escapes |= {"\f": "\\f", "\v": "\\v"}
    shown = "".join(
        escapes.get(char)
        or (
            char
            if char.isprintable()
            else f"\\x{ord(char):02x}"
            if ord(char) < 128
            else f"\\u{ord(char):04x}"
        )
        for char in text
    )
    return f'"{shown}"'
