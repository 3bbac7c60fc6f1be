"""A function that aligns the columns of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..model.unprintable_characters import printable

#: maximum width of a column. A longer cell widens only its own line, not the whole column.
WIDEST = 100


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows as lines whose columns are aligned. Control characters are escaped."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [min(max(map(len, column)), WIDEST) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
