"""A text that was read, and places in it."""

#: characters whose lines are counted each time: few enough to take no time, and enough to take no room
_STRIDE = 4096


class Source:
    """A named text.

    ``text`` is decoded with ``surrogateescape``, so every byte survives and one character of
    undecodable input is one column.
    """

    __slots__ = ("_lines", "name", "text")

    def __init__(self, name: str, text: "str | bytes") -> None:
        self.name = name
        self.text = text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text
        #: how many lines end before every so many characters; made when a line is first asked for
        self._lines: list[int] | None = None

    def span(self, start: int, end: "int | None" = None) -> "Span":
        """The characters from ``start`` up to, not including, ``end`` (one character if omitted)."""
        return Span(self, start, start + 1 if end is None else end)

    def line_at(self, position: int) -> int:
        """The 1-based line of a character. A file may have a place in each of a hundred thousand lines, so
        they are not counted from the beginning every time."""
        lines = self._lines
        if lines is None:
            lines = [0]
            for start in range(0, len(self.text), _STRIDE):
                lines.append(lines[-1] + self.text.count("\n", start, start + _STRIDE))
            self._lines = lines  # when it is whole: another thread may be looking
        counted = min(position, len(self.text)) // _STRIDE
        return lines[counted] + self.text.count("\n", counted * _STRIDE, position) + 1

    @property
    def data(self) -> bytes:
        return self.text.encode("utf-8", "surrogateescape")


class Span:
    """Some characters of a source. Lines and columns are 1-based and count characters."""

    __slots__ = ("end", "source", "start")

    def __init__(self, source: Source, start: int, end: int) -> None:
        self.source = source
        self.start = start
        self.end = end

    def __repr__(self) -> str:
        return f"Span({self.place})"

    @property
    def line(self) -> int:
        return self.source.line_at(self.start)

    @property
    def column(self) -> int:
        return self.start - (self.source.text.rfind("\n", 0, self.start) + 1) + 1

    @property
    def place(self) -> str:
        """For people: the name comes from an image, and may be anything."""
        return f"{printable(self.source.name)}:{self.line}:{self.column}"

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def excerpt(self, width: int = 100) -> str:
        """The line of this place with carets under it; long lines are cut around the place."""
        text = self.source.text
        line_start = text.rfind("\n", 0, self.start) + 1
        line_end = text.find("\n", self.start)
        line_end = len(text) if line_end < 0 else line_end
        column = self.start - line_start
        length = max(1, min(self.end, line_end) - self.start)
        line = text[line_start:line_end]
        if len(line) > width:
            cut = max(0, column - width // 2)
            line, column = line[cut : cut + width], column - cut
        number = str(self.line)
        shown = printable(line)
        pad = len(printable(line[:column]))
        carets = "^" * max(1, min(length, len(shown) - pad))
        return f" {number} | {shown}\n {' ' * len(number)} | {' ' * pad}{carets}"


def printable(text: str) -> str:
    """Text safe to show on a terminal: control and undecodable characters as escapes, a tab as a blank."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(c: str) -> str:
    # by hand: where a hook renders, no codec can be imported any more
    number = ord(c)
    if c in _SHORT:
        return _SHORT[c]
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


_SHORT = {"\t": " ", "\n": "\\n", "\r": "\\r"}


def whole_characters(text: str) -> str:
    """Half a character, as JSON's ``\\ud800`` gives, is U+FFFD to Go; and that can be written."""
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
