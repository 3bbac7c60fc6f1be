"""Integers as Go's strconv reads them."""


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
