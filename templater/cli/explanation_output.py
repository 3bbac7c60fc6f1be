"""Explanations of rendered files on standard output, with colours and wrapped origins on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from ..model.unprintable_characters import printable
from ..rendering.origins import KINDS
from ..reporting.explanation import kinds_in, rows, when_written
from ..reporting.plan_text import MOST_NAMED, heading
from . import output, terminal

if TYPE_CHECKING:
    from ..model.metadata import Rule
    from ..reporting.explanation import Explained, Row

#: These colours are readable on dark and on light terminals.
COLOURS: dict[str, dict[str, Any]] = {
    "heading": {"bold": True}, "profile": {"fg": "cyan"}, "local": {"fg": "green"},
    "image": {"fg": "bright_blue", "underline": True}, "property": {"fg": "magenta"},
    "default": {"fg": "magenta", "underline": True}, "daemon": {"fg": "bright_blue"},
    "merged": {"fg": "green", "underline": True}, "several": {"fg": "cyan", "underline": True},
    "undefined": {"fg": "red"},
}  # fmt: skip


def show(files: list[Explained]) -> None:
    """Print the explanation of each file, and a legend of the colours."""
    layout = None
    if terminal.has_layout():
        from . import styled

        layout = styled.Headings([heading(file.change) for file in files], terminal.width())
    for number, file in enumerate(files):
        output.write("\n" if number else "")
        found = rows(file)
        if layout is not None:
            output.write_lines(layout.lines(heading(file.change)))
            next(found)  # skip the heading of the plain report
        write_rows(found)
    output.write("\n" if terminal.has_colour() and files else "")
    if terminal.has_colour():
        for kind in kinds_in(files):
            output.write_styled(f"{click.style(kind, **COLOURS[kind])}: {KINDS[kind]}\n")


def write_rows(found: Iterable[Row]) -> None:
    """Print lines of a report. On a terminal, give them colours and wrap them."""
    if not terminal.has_layout():
        output.write("".join("".join(chunk.text for chunk in row).rstrip() + "\n" for row in found))
        return
    for row in found:
        for line in split_row([(printable(chunk.text), chunk.kind) for chunk in row], terminal.width()):
            text = "".join(output.style(text, **COLOURS.get(kind, {})) for text, kind in line)
            output.write_styled(f"{text}\n")


def split_row(row: list[tuple[str, str]], width: int) -> Iterator[list[tuple[str, str]]]:
    """Yield the lines of one row of `explain`. Wrap long origins, but do not wrap a line of the file."""
    from rich.text import Text

    from .styled import INDENT, wrapped

    (margin, kind), *rest = row
    bar = margin.find("| ") + 2
    if not rest:
        margin, words = (margin[:bar], margin[bar:]) if bar > 1 else (" " * INDENT, margin.lstrip())
    elif len(row) == 2 and rest[0][0].startswith("^"):
        words, kind = rest[0]
    else:
        yield row
        return
    room = max(width - len(margin), 30)
    left = margin[:bar] + " " * (min(len(margin), max(width // 2, bar)) - bar) if bar > 1 else margin
    for number, line in enumerate(wrapped(Text(words), room, hanging=2)):
        yield [(left if number else margin, ""), (line.plain, kind)]


def say_not_due(rules: list[Rule], files: list[Explained]) -> None:
    """Print the names of the files that none of the chosen triggers writes."""
    due = {id(file.change.rule) for file in files}
    for rule in [rule for rule in rules if id(rule) not in due][:MOST_NAMED]:
        output.say(
            f"{printable(rule.path)}: not rendered for these triggers;"
            f" the file is {when_written(rule)} (see -t)"
        )
