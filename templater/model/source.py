"""Source texts, and positions in these texts."""

from .unprintable_characters import printable

#: The size of a block in characters. For each block, a source stores the number of lines before the block,
#: and the start of the line in which the block begins. Storing the position of each line would need more
#: memory.
_STRIDE = 4096


class Source:
    """A text with a name.

    Bytes are decoded with ``surrogateescape``: no byte is lost, and each undecodable byte counts as one
    character.
    """

    __slots__ = ("__weakref__", "_lines", "name", "text")

    def __init__(self, name: str, text: "str | bytes") -> None:
        self.name = name
        self.text = text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text
        #: for each block: the number of newlines before it, and the start of its first line;
        #: computed on first use
        self._lines: list[tuple[int, int]] | None = None

    def span(self, start: int, end: "int | None" = None) -> "Span":
        """Return the span from ``start`` to ``end`` (exclusive). The default is one character."""
        return Span(self, start, start + 1 if end is None else end)

    def line_at(self, position: int) -> int:
        """Return the 1-based line number of the character at ``position``."""
        block, (count, _) = self._block(position)
        return count + self.text.count("\n", block, position) + 1

    def line_start(self, position: int) -> int:
        """Return the position at which the line of the character at ``position`` starts."""
        block, (_, start) = self._block(position)
        newline = self.text.rfind("\n", block, position)
        return start if newline < 0 else newline + 1

    def _block(self, position: int) -> "tuple[int, tuple[int, int]]":
        """Return the start of the block that contains a position, and a pair of numbers about the block.

        The pair has the number of newlines before the block, and the start of the line in which the block
        begins.
        """
        lines, text = self._lines, self.text
        if lines is None:
            # Both numbers are stored, because a long line can contain 100,000 spans.
            lines = [(0, 0)]
            for start in range(0, len(text), _STRIDE):
                count, begins = lines[-1]
                newline = text.rfind("\n", start, start + _STRIDE)
                count += text.count("\n", start, start + _STRIDE)
                lines.append((count, begins if newline < 0 else newline + 1))
            self._lines = lines  # assign the list only when complete, because other threads may read it
        number = min(position, len(text)) // _STRIDE
        return number * _STRIDE, lines[number]

    def origin(self, span: "Span") -> "Span":
        """Return the span that messages show for a span of this source.

        For generated text, return a span of the text that the user has written.
        """
        return span

    @property
    def data(self) -> bytes:
        return self.text.encode("utf-8", "surrogateescape")


class Span:
    """A range of characters in a source. Lines and columns are 1-based and count characters."""

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
        return self.start - self.source.line_start(self.start) + 1

    @property
    def place(self) -> str:
        """The text ``name:line:column`` for display. The name is escaped, because images are untrusted."""
        shown = self.origin
        return f"{printable(shown.source.name)}:{shown.line}:{shown.column}"

    @property
    def origin(self) -> "Span":
        """The span in the text that the user has written. ``Source.origin`` finds it."""
        return self.source.origin(self)

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def excerpt(self, width: int = 100) -> str:
        """Return the source line, and below it a line with carets under the span.

        Show at most ``width`` characters of the source line, around the span.
        """
        origin = self.origin
        if origin is not self:
            return origin.excerpt(width)
        text = self.source.text
        line_start = self.source.line_start(self.start)
        # Search the end of the line only in the characters that can be shown.
        last = min(len(text), self.start + width)
        line_end = text.find("\n", self.start, last)
        line_end = last if line_end < 0 else line_end
        column = self.start - line_start
        length = max(1, min(self.end, line_end) - self.start)
        if line_end - line_start > width:
            cut = max(0, column - width // 2)
            line_start, column = line_start + cut, column - cut
        line = text[line_start : min(line_end, line_start + width)]
        number = str(self.line)
        shown = printable(line)
        pad = len(printable(line[:column]))
        carets = "^" * max(1, min(length, len(shown) - pad))
        return f" {number} | {shown}\n {' ' * len(number)} | {' ' * pad}{carets}"
