"""Parsers for the uid, gid and mode of a rule. The parsers follow the Go code of the daemons."""

from .errors import MetadataError
from .unprintable_characters import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .metadata import Rule

MAX_ID = 0xFFFFFFFE  # For chown(2), MAX_ID + 1 means "leave the owner unchanged".


def parse_id(text: str, what: str, rule: "Rule") -> int:
    """Parse a rule's uid or gid like Go's ``ParseInt(text, 10, 64)``. An empty text gives 0.

    Raises MetadataError if the text is not a number from 0 to 4294967294.
    """
    if not text:
        return 0
    digits = text[1:] if text[0] in "+-" else text
    if digits.isascii() and digits.isdigit() and len(digits) < 20 and 0 <= int(text) <= MAX_ID:
        return int(text)
    raise MetadataError(
        f"{what} '{printable(text)}' of '{printable(rule.path)}' is not a number from 0 to {MAX_ID}",
        rule.spans.get(what),
        hint=f"write the container's numeric {what}; names are not supported",
    )


def parse_mode(text: str, rule: "Rule") -> int:
    """Parse a rule's mode as the daemons do. An empty text gives 0644.

    Raises MetadataError if the text is not a number.
    """
    if not text:
        return 0o644
    # The daemons add the prefix ``0`` to a text of three characters. The text is then a Go integer, of which
    # the daemons use only the lowest nine bits. For example, ``4755`` is decimal and gives 0223.
    value = go_integer("0" + text if len(text.encode("utf-8", "surrogateescape")) == 3 else text)
    if value is None:
        raise MetadataError(
            f"mode '{printable(text)}' of '{printable(rule.path)}' is not an octal number",
            rule.spans.get("mode"),
            hint="write the mode in octal, for example 0644",
        )
    return value & 0o777


def go_integer(text: str) -> "int | None":
    """Parse an integer like Go's ``ParseInt(text, 0, 64)``, or return None if Go reports an error."""
    sign, digits = (text[0], text[1:]) if text[:1] in ("+", "-") else ("", text)
    base, prefix = _base(digits)
    body = digits[prefix:]
    # Go allows an underscore between two digits, and between a prefix such as 0x and a digit.
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
    """Return the base of a number, and the length of the prefix that determines the base."""
    if digits[:1] != "0" or len(digits) < 2:
        return 10, 0
    named = {"x": 16, "o": 8, "b": 2}.get(digits[1].lower())
    return (named, 2) if named is not None and len(digits) > 2 else (8, 1)
