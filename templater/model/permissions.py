"""A rule's uid, gid and mode: numbers as Go reads them."""

from .errors import MetadataError
from .source import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .metadata import Rule

MAX_ID = 0xFFFFFFFE  # chown(2) reads 4294967295 as -1, "leave the owner unchanged"


def parse_id(text: str, what: str, rule: "Rule") -> int:
    """A rule's uid or gid, as Go's ``ParseInt(text, 10, 64)`` reads it; only what names an owner."""
    if not text:
        return 0
    digits = text[1:] if text[0] in "+-" else text
    if digits.isascii() and digits.isdigit() and len(digits) < 20 and 0 <= int(text) <= MAX_ID:
        return int(text)
    raise MetadataError(
        f"{what} '{printable(text)}' of '{printable(rule.path)}' is not a number from 0 to {MAX_ID}",
        rule.spans.get(what),
        hint=f"{what} is a number inside the container; names are not looked up",
    )


def parse_mode(text: str, rule: "Rule") -> int:
    """A rule's mode by Go's rule: exactly three characters are octal, all else is base 0.

    So ``640`` is 0640 and ``0640`` too, but ``4755`` is decimal: 0223. Only the lowest nine bits count.
    """
    if not text:
        return 0o644
    value = go_integer("0" + text if len(text.encode("utf-8", "surrogateescape")) == 3 else text)
    if value is None:
        raise MetadataError(
            f"mode '{printable(text)}' of '{printable(rule.path)}' is not a number",
            rule.spans.get("mode"),
            hint="write it in octal, as 0644",
        )
    return value & 0o777


def go_integer(text: str) -> "int | None":
    """Go's ``ParseInt(text, 0, 64)``; None where Go has an error."""
    sign, digits = (text[0], text[1:]) if text[:1] in ("+", "-") else ("", text)
    base, prefix = _base(digits)
    body = digits[prefix:]
    # Go: an underscore stands between two digits, or between the base's prefix and a digit
    spelled = "0" + body if prefix else body
    if spelled.startswith("_") or spelled.endswith("_") or "__" in spelled:
        return None
    body = body.replace("_", "")
    if not body.isascii() or not body.isalnum():
        return None
    try:
        value = int(sign + body, base)
    except ValueError:
        return None
    return value if -(1 << 63) <= value < 1 << 63 else None


def _base(digits: str) -> "tuple[int, int]":
    """The base that a number's spelling asks for, and how many characters say so."""
    if digits[:1] != "0" or len(digits) < 2:
        return 10, 0
    named = {"x": 16, "o": 8, "b": 2}.get(digits[1].lower())
    return (named, 2) if named is not None and len(digits) > 2 else (8, 1)
