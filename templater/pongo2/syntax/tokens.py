"""The text of a template and its tokens, with positions in the user's source and in the text for pongo2."""

from ...model.errors import TemplateSyntaxError
from ...model.source import Source, Span
from ...model.unprintable_characters import printable

#: kinds of tokens; for a symbol or a keyword, the kind is the text of the token
TEXT = "text"
IDENTIFIER = "identifier"
NUMBER = "number"
STRING = "string"

KEYWORDS = frozenset(("in", "and", "or", "not", "true", "false", "as", "export"))

WRAPPER = ("{% autoescape off %}", "{% endautoescape %}")


class Unit:
    """The text of one template as pongo2 gets it: if ``wrapped``, with the wrapper of LXD and Incus.

    Offsets refer to ``text``, and spans to the user's source.
    """

    __slots__ = ("name", "shift", "source", "wrapped")

    def __init__(self, source: Source, name: str = "<string>", *, wrapped: bool = False) -> None:
        self.source = source
        self.name = name
        self.wrapped = wrapped
        self.shift = len(WRAPPER[0]) if wrapped else 0

    @property
    def text(self) -> str:
        # The text is built at each access, so that memory holds a large template only once.
        before, after = WRAPPER
        return f"{before}{self.source.text}{after}" if self.wrapped else self.source.text

    def position(self, offset: int) -> "tuple[int, int]":
        """Return line and column of an offset as pongo2 counts them, from 1. Columns count bytes."""
        text, end = self.source.text, min(max(offset - self.shift, 0), len(self.source.text))
        line_start = text.rfind("\n", 0, end) + 1
        before = text[line_start:end]
        column = len(before) if before.isascii() else len(before.encode("utf-8", "surrogateescape"))
        column += offset - end - (self.shift if line_start else 0)
        return text.count("\n", 0, end) + 1, column + 1

    def span(self, start: int, end: int) -> Span:
        """Convert a range of ``text`` into a span of the user's source.

        An empty range gives one character. A range in the daemons' wrapper gives the first or last character.
        """
        size = len(self.source.text)
        first = min(max(start - self.shift, 0), max(size - 1, 0))
        last = min(max(end - self.shift, first), size)
        return self.source.span(first, max(last, min(first + 1, size)))


class Token:
    """A token of a unit.

    * ``value``: the text of the token; for a string, without quotes and with decoded escapes
    * ``trim``: whether a delimiter contains a ``-``, such as ``{%-``
    * ``shown``: the text that a TEXT token prints; the options trim_blocks and lstrip_blocks can shorten it
    """

    __slots__ = ("end", "kind", "shown", "start", "trim", "unit", "value")

    def __init__(self, kind: str, value: str, start: int, end: int, unit: Unit, trim: bool = False) -> None:
        self.kind = kind
        self.value = value
        self.start = start
        self.end = end
        self.unit = unit
        self.trim = trim
        self.shown = value

    @property
    def span(self) -> Span:
        return self.unit.span(self.start, self.end)


def pongo2_text(
    sender: str,
    message: str,
    name: str = "",
    position: "tuple[int, int] | None" = None,
    near: "str | None" = None,
) -> str:
    """Return the text of an error as pongo2 formats it. ``position`` is a line and a column."""
    text = f"[Error (where: {sender})"
    if name:
        text += f" in {name}"
    if position is not None:
        text += f" | Line {position[0]} Col {position[1]}"
        if near is not None:
            text += f" near '{near}'"
    return f"{text}] {message}"


def plain_words(message: str) -> str:
    """Return pongo2's message in templater's style: with a lower-case first letter and no full stop."""
    message = message.removesuffix(".")
    if message[:1].isupper() and not message[1:2].isupper():
        message = message[0].lower() + message[1:]
    return message


def syntax_error(message: str, span: Span, original: str, hint: str = "") -> TemplateSyntaxError:
    error = TemplateSyntaxError(printable(message), span, printable(hint))
    error.pongo2_error = original
    return error
