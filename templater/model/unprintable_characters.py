"""Characters that a terminal cannot show or UTF-8 cannot encode: how texts escape or replace them."""

_SHORT = {"\t": " ", "\n": "\\n", "\r": "\\r"}


def printable(text: str) -> str:
    """Escape control characters and undecodable bytes, so that a terminal can show the text.

    Tabs become spaces.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def printable_lines(text: str) -> str:
    """Like `printable`, escape control characters, but keep line endings and tabs."""
    if text.isprintable():
        return text
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def _escaped(c: str) -> str:
    # This function uses no codec, because a codec would have to be imported, which a hook's sandbox forbids.
    number = ord(c)
    if c in _SHORT:
        return _SHORT[c]
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def is_whole(text: str) -> bool:
    """Return whether UTF-8 can encode a text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def whole_characters(text: str) -> str:
    """Replace each lone surrogate, such as JSON's ``\\ud800``, by U+FFFD. Go does the same.

    UTF-8 cannot encode a lone surrogate.
    """
    if is_whole(text):
        return text
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
