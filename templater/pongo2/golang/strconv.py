"""Functions of Go's strconv package: FormatFloat, Quote and IsPrint."""

from ..values import grow, has_bytes, special_float


def format_float(v: float, form: str, precision: int) -> str:
    """Return the result of strconv.FormatFloat(v, form, precision, 64) in Go.

    The precision -1 gives the fewest digits that parse to the same number.
    """
    if v - v != 0.0:
        return special_float(v)
    grow(precision)
    if form == "b":
        return _binary(v)
    if form in "xX":
        text = _hexadecimal(v, precision)
        return text.upper() if form == "X" else text
    if form in "gG":
        text = _general(v, precision)
        return text.upper() if form == "G" else text
    if form == "f":
        return shortest(v) if precision < 0 else f"{v:.{precision}f}"
    return f"{v:.{precision}{form}}"


def shortest(v: float) -> str:
    """Return the shortest decimal text, without an exponent, that parses to the same number."""
    digits, exponent = _decimal(v)
    sign = "-" if repr(v)[0] == "-" else ""
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    whole = digits[: exponent + 1].ljust(exponent + 1, "0")
    fraction = digits[exponent + 1 :]
    return sign + whole + ("." + fraction if fraction else "")


def _general(v: float, precision: int) -> str:
    if precision >= 0:
        return f"{v:.{max(precision, 1)}g}"
    digits, exponent = _decimal(v)
    if -4 <= exponent < 6:
        return shortest(v)
    sign = "-" if v < 0 else ""
    body = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{sign}{body}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _decimal(v: float) -> "tuple[str, int]":
    """Return the fewest digits that identify a number, and the decimal exponent of the first digit."""
    text = repr(abs(v))
    number, _, exponent = text.partition("e")
    whole, _, fraction = number.partition(".")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return "0", 0
    lead = len(whole.lstrip("0")) - 1
    if lead < 0:
        lead = -(len(fraction) - len(fraction.lstrip("0"))) - 1
    return digits.rstrip("0"), lead + int(exponent or 0)


def _binary(v: float) -> str:
    """Format a number like Go's %b: the mantissa as an integer, "p", and the exponent of a power of two."""
    mantissa, exponent = _parts(v)
    sign = "-" if repr(v)[0] == "-" else ""
    return f"{sign}{mantissa}p{exponent:+d}"


def _parts(v: float) -> "tuple[int, int]":
    """Return an integer mantissa and an exponent such that abs(v) = mantissa * 2**exponent."""
    number, _, exponent = v.hex().lstrip("-").partition("p")
    if number[2] == "0":
        return int(number[4:], 16), -1074
    return int("1" + number[4:], 16), int(exponent) - 52


def _hexadecimal(v: float, precision: int) -> str:
    """Format a number like Go's %x: hexadecimal digits, and a binary exponent of at least two digits."""
    mantissa, exponent = _parts(v)
    sign = "-" if repr(v)[0] == "-" else ""
    if mantissa == 0:
        exponent = 0
    else:
        exponent += 52
        while not mantissa >> 52:
            mantissa <<= 1
            exponent -= 1
    mantissa <<= 8  # Now 60 bits follow the point: fifteen hexadecimal digits.
    if 0 <= precision < 15:
        mantissa, exponent = _rounded_hex(mantissa, exponent, precision)
    fraction = format(mantissa & ((1 << 60) - 1), "015x")
    fraction = fraction.rstrip("0") if precision < 0 else fraction[:precision].ljust(precision, "0")
    point = "." if fraction else ""
    return f"{sign}0x{mantissa >> 60}{point}{fraction}p{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _rounded_hex(mantissa: int, exponent: int, precision: int) -> "tuple[int, int]":
    """Round the mantissa to ``precision`` hexadecimal digits, half to even. Return mantissa and exponent."""
    shift = 60 - 4 * precision
    kept, rest = mantissa >> shift, mantissa & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    if rest > half or (rest == half and kept & 1):
        kept += 1
    mantissa = kept << shift
    if mantissa >> 61:
        return mantissa >> 1, exponent + 1
    return mantissa, exponent


# --- quoting -----------------------------------------------------------------------------------

_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
}


def rune(v: int) -> str:
    """Return the character with the code point ``v``, or U+FFFD if the code point is invalid."""
    return chr(v) if v <= 0x10FFFF and not 0xD800 <= v <= 0xDFFF else "\ufffd"


def is_printable(v: int) -> bool:
    """Return the result of strconv.IsPrint(v) in Go.

    The result is true for letters, marks, numbers, punctuation, symbols and the ASCII space.
    """
    return not 0xD800 <= v <= 0xDFFF and chr(v).isprintable()


def can_backquote(text: str) -> bool:
    if has_bytes(text):
        return False
    return not any(c in "`\x7f\ufeff" or (c < " " and c != "\t") for c in text)


def quote(text: str, mark: str, *, ascii_only: bool) -> str:
    grow(len(text) * 4)
    return mark + "".join([_quoted_rune(c, mark, ascii_only) for c in text]) + mark


def _quoted_rune(c: str, mark: str, ascii_only: bool) -> str:
    code = ord(c)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if c == mark:
        return "\\" + c
    if c in _ESCAPES:
        return _ESCAPES[c]
    if (code < 0x80 or not ascii_only) and is_printable(code):
        return c
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
