"""Generated texts, whose positions are mapped to the definition, and generated template files."""

from __future__ import annotations

from bisect import bisect_right
from heapq import heappop, heappush
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from ..model.entry import FILE, Entry, TemplateFile
from ..model.source import Source, Span
from ..parsing.yaml_nodes import Scalar

if TYPE_CHECKING:
    from ..parsing.yaml_nodes import Node


class Piece(NamedTuple):
    """A range of a generated text, and its origin.

    The origin is the source range ``span``, or the scalar from which the text was copied.
    """

    start: int
    end: int
    span: Span
    scalar: Scalar | None = None


class GeneratedSource(Source):
    """A text generated from a definition. Errors show a span of the definition, not of this text.

    The last of the ``pieces`` that contain a position gives its origin.
    """

    __slots__ = ("_block_lines", "_ranges", "pieces")

    def __init__(self, name: str, text: str | bytes, pieces: tuple[Piece, ...]) -> None:
        super().__init__(name, text)
        self.pieces = pieces
        #: the result of ``_ranges``, computed on first use: a list of triggers can have 60,000 spans
        self._ranges: tuple[list[int], list[Piece]] | None = None
        #: the lines of each block-style scalar, by the scalar's id
        self._block_lines: dict[int, BlockLines] = {}

    def origin(self, span: Span) -> Span:
        if not self.pieces:
            return span
        if self._ranges is None:
            self._ranges = _ranges(self.pieces)
        starts, pieces = self._ranges
        piece = pieces[bisect_right(starts, span.start) - 1]
        if piece.scalar is None:
            return piece.span
        start = min(span.start - piece.start, len(piece.scalar.text))
        return span_in_scalar(piece.scalar, start, max(start + 1, span.end - piece.start), self._block_lines)


def _ranges(pieces: tuple[Piece, ...]) -> tuple[list[int], list[Piece]]:
    """Divide a text at the edges of its pieces. Return the start and the origin of each range.

    The origin of a range is the last piece that contains the range.
    """
    # A range outside all pieces gets the span of the first piece.
    rest = pieces[0]._replace(scalar=None)
    starts, last = [-1], [rest]
    ends = [max(piece.end, piece.start + 1) for piece in pieces]
    order = sorted(range(len(pieces)), key=lambda number: pieces[number].start)
    open_pieces: list[int] = []  # a heap of negative numbers: its first item is the last piece
    following = 0
    for position in sorted({*ends, *(piece.start for piece in pieces)}):
        while following < len(order) and pieces[order[following]].start == position:
            heappush(open_pieces, -order[following])
            following += 1
        while open_pieces and ends[-open_pieces[0]] <= position:
            heappop(open_pieces)
        starts.append(position)
        last.append(pieces[-open_pieces[0]] if open_pieces else rest)
    return starts, last


class GeneratedTemplate(TemplateFile):
    __slots__ = ("pieces",)

    def __init__(self, data: bytes, pieces: tuple[Piece, ...]) -> None:
        super().__init__(Entry(FILE, 0o644, size=len(data)), data)
        self.pieces = pieces

    def make_source(self, name: str, text: str | bytes) -> Source:
        return GeneratedSource(name, text, self.pieces)


class BlockLines:
    """The lines of a YAML scalar in block style, and their offsets.

    ``text`` has the lines of the scalar's value, and ``raw`` has the lines of its YAML source.
    """

    __slots__ = ("raw", "raw_starts", "starts", "text")

    def __init__(self, text: str, raw: str) -> None:
        self.text, self.raw = text.split("\n"), raw.split("\n")
        self.starts, self.raw_starts = (
            list(accumulate((len(line) + 1 for line in lines[:-1]), initial=0))
            for lines in (self.text, self.raw)
        )


def span_in_scalar(scalar: Scalar, start: int, end: int, known: dict[int, BlockLines]) -> Span:
    """Return the span of ``scalar.text[start:end]`` in the scalar's source.

    Return the whole scalar's span if text and source differ, for example by escapes. The dict ``known`` is a
    cache.
    """
    whole = scalar.source.text
    if whole.startswith("|", scalar.start, scalar.end):
        if id(scalar) not in known:
            known[id(scalar)] = BlockLines(scalar.text, whole[scalar.start : scalar.end])
        lines = known[id(scalar)]
        line = bisect_right(lines.starts, start) - 1
        column = start - lines.starts[line]
        if line + 1 < len(lines.raw) and lines.raw[line + 1].endswith(lines.text[line]):
            indent = len(lines.raw[line + 1]) - len(lines.text[line])
            first = scalar.start + lines.raw_starts[line + 1] + indent + column
            length = min(end - start, max(1, len(lines.text[line]) - column))
            return scalar.source.span(first, first + length)
    elif (first := whole.find(scalar.text, scalar.start, scalar.end)) >= 0:
        return scalar.source.span(first + start, first + max(start + 1, min(end, len(scalar.text))))
    return scalar.span


def piece_of(start: int, text: str, node: Node | None, span: Span) -> Piece:
    """Return the piece for ``text``. The origin is ``node``, or ``span`` if ``node`` is None.

    ``start`` is the position of ``text`` in the generated text.
    """
    if isinstance(node, Scalar) and text.startswith(node.text):
        return Piece(start, start + len(text), node.span, node)
    return Piece(start, start + len(text), span if node is None else node.span)
