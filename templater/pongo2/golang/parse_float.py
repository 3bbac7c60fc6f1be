"""Go's strconv.ParseFloat. The module is small, because every run of a hook imports it."""


def parse_float(text: str) -> "float | None":
    """Parse a number like Go's strconv.ParseFloat, or return None if Go reports an error.

    An overflow is an error, too.
    """
    if not text or not text.isascii():
        return None
    if text[0] in "0123456789.+-" and text[-1] in "0123456789.":
        return _parse_plain(text)
    return _SPECIAL_FLOATS.get(text.lower())


_INFINITY = float("inf")
_SPECIAL_FLOATS = {
    sign + word: value
    for sign, value in (("", _INFINITY), ("+", _INFINITY), ("-", -_INFINITY))
    for word in ("inf", "infinity")
} | {"nan": float("nan")}


def _parse_plain(text: str) -> "float | None":
    body = text.lstrip("+-") if text[0] in "+-" else text
    if body[:2] in ("0x", "0X"):
        return _parse_hex(text, body)
    try:
        number = float(text)
    except ValueError:
        return None
    return None if number - number != 0.0 else number


def _parse_hex(text: str, body: str) -> "float | None":
    """Parse a hexadecimal float, or return None if Go rejects it.

    Go requires an exponent. Go allows underscores between two digits, and between the prefix and a digit.
    """
    mantissa, p, exponent = body.lower()[2:].partition("p")
    digits = exponent[1:] if exponent[:1] in ("+", "-") else exponent
    if not p or len(text) - len(body) > 1 or not _spaced("0" + mantissa) or not _spaced(digits):
        return None
    if not mantissa.replace("_", "").replace(".", "", 1) or "." in digits:
        return None
    try:
        return float.fromhex(text.replace("_", ""))
    except (OverflowError, ValueError):
        return None


def _spaced(digits: str) -> bool:
    """Return whether every underscore is between two digits."""
    return digits.strip("_") == digits and not any(pair in digits for pair in ("__", "_.", "._"))
