"""Functions of Go's strings package. The similar str methods of Python give different results."""

from ..values import from_bytes, has_bytes, to_bytes, to_runes

GO_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
)
"""The characters for which Go's unicode.IsSpace is true. For Python, U+001C-U+001F are white space, too."""

_SEPARATORS = str.maketrans("\x1c\x1d\x1e\x1f", "\ud800\ud801\ud802\ud803")
_SEPARATORS_BACK = {0xD800: 0x1C, 0xD801: 0x1D, 0xD802: 0x1E, 0xD803: 0x1F}


def upper_text(text: str) -> str:
    """Convert each character to upper case like Go, which never changes the number of characters."""
    if text.isascii():
        return text.upper()
    return "".join(map(_upper_rune, to_runes(text)))


def _upper_rune(c: str) -> str:
    upper = c.upper()
    return upper if len(upper) == 1 else _title_rune(c)


def _title_rune(c: str) -> str:
    title = c.title()
    return title if len(title) == 1 else c


def lower_text(text: str) -> str:
    if text.isascii():
        return text.lower()
    return "".join(map(_lower_rune, to_runes(text)))


def _lower_rune(c: str) -> str:
    if c == "\u0130":  # Python's result contains a combining dot, but Go's does not.
        return "i"
    lower = c.lower()
    return lower if len(lower) == 1 else c


def title_text(text: str) -> str:
    """Return the result of strings.Title(text) in Go: each character after a separator is in title case."""
    out = []
    after_separator = True
    for c in to_runes(text):
        out.append(_title_rune(c) if after_separator else c)
        after_separator = _is_separator(c)
    return "".join(out)


def _is_separator(c: str) -> bool:
    if c.isascii():
        return not (c.isalnum() or c == "_")
    return c in GO_SPACE


def fields(text: str) -> "list[str]":
    """Return the result of strings.Fields(text) in Go: the words between white space."""
    if not any(separator in text for separator in "\x1c\x1d\x1e\x1f"):
        return text.split()
    words = text.translate(_SEPARATORS).split()
    return [word.translate(_SEPARATORS_BACK) for word in words]


def split_text(text: str, separator: str) -> "list[str]":
    """Return the result of strings.Split in Go. An empty separator splits the text into its characters."""
    if not separator:
        return list(text)
    if not has_bytes(separator):
        return text.split(separator)
    return [from_bytes(part) for part in to_bytes(text).split(to_bytes(separator))]
