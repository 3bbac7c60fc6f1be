"""The kinds of lines in an error's explanation: messages, source lines with a marked part, and hints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MESSAGE, SOURCE, CARETS, HINT = "message", "source", "carets", "hint"
_NUMBERED = re.compile(r"^ +\d+ \| ")
_CARETS = re.compile(r"^ +\| *(?P<carets>\^+)$")


class MarkedLine(NamedTuple):
    """A line of an error's explanation, with its kind.

    In a line of source or carets, the part ``text[start:end]`` is marked.
    """

    kind: str
    text: str
    start: int = 0
    end: int = 0


def marked_lines(text: str) -> Iterator[MarkedLine]:
    """Yield the lines of a text that ``TemplaterError.explain`` or ``Span.excerpt`` has made."""
    lines = text.rstrip("\n").split("\n")
    for number, line in enumerate(lines):
        after = _CARETS.match(lines[number + 1]) if number + 1 < len(lines) else None
        if after is not None and _NUMBERED.match(line):
            yield MarkedLine(SOURCE, line, after.start("carets"), after.end("carets"))
        elif found := _CARETS.match(line):
            yield MarkedLine(CARETS, line, found.start("carets"), found.end("carets"))
        else:
            yield MarkedLine(HINT if line.startswith("hint: ") else MESSAGE, line)
