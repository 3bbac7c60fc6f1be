"""Go's strconv.Quote, and what counts as printable."""

from ..values import grow, has_bytes

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
    """The character of this number; U+FFFD where there is none."""
    return chr(v) if v <= 0x10FFFF and not 0xD800 <= v <= 0xDFFF else "\ufffd"


def is_printable(v: int) -> bool:
    """strconv.IsPrint: letters, marks, numbers, punctuation, symbols and the ASCII space."""
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
