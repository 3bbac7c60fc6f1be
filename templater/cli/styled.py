"""Text for terminals: horizontal lines, columns, and wrapped messages.

Only styled output imports this module. Every function escapes the control characters of its arguments.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ..model.plan import CREATE, FAILED, UPDATE, WRITE
from ..model.unprintable_characters import printable, printable_lines
from ..reporting.coloured_error_parts import CARETS, HINT, SOURCE, marked_lines
from ..reporting.columns import columns
from ..reporting.host_table import table_parts

if TYPE_CHECKING:
    from ..model.plan import Change
    from ..reporting.host_table import HostTable
    from ..reporting.plan_text import Block, Heading

#: the colours of actions; all are readable on dark and on light terminals
ACTIONS = {CREATE: "green", WRITE: "green", UPDATE: "yellow", FAILED: "bold red"}
#: the indentation of everything below a horizontal rule, such as ``── /etc/hosts``
INDENT = 3
_LABEL = re.compile(r"^(templater|note|warning|hint): ")
_LABELS = {"templater": "bold red", "note": "cyan", "warning": "yellow", "hint": "dim"}


def ansi(lines: Iterable[Text], *, colour: bool) -> str:
    """Return lines as text with the codes of their colours. The lines are not wrapped."""
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=True, color_system="standard" if colour else None, width=1000,
        legacy_windows=False, markup=False, highlight=False, emoji=False,
    )  # fmt: skip
    for line in lines:
        console.print(line, soft_wrap=True)
    return file.getvalue()


def wrapped(text: Text, width: int, *, indent: int = 0, hanging: int = 0) -> Iterator[Text]:
    """Yield the lines of a text, wrapped at words. Lines after the first have ``hanging`` more spaces."""
    console = Console(file=io.StringIO(), width=width)
    first = True
    for part in text.wrap(console, max(width - indent - hanging, 20)):
        part.rstrip()
        yield Text(" " * (indent + (0 if first else hanging))).append_text(part)
        first = False


def message(text: str, width: int, *, indent: int = 0) -> Iterator[Text]:
    """Yield the lines of a message. The marked part of a source line is red, and hints are dim."""
    for kind, line, start, end in marked_lines(printable_lines(text)):
        shown = Text(line)
        if kind in (SOURCE, CARETS):
            shown.stylize("red", start, end)
            shown.stylize("dim", 0, line.index("|") + 1)
            yield Text(" " * indent).append_text(shown)
        elif line.startswith(" ") or not line:
            yield Text(" " * indent).append_text(shown)
        else:
            if label := _LABEL.match(line):
                shown.stylize(_LABELS[label[1]], 0, None if kind == HINT else label.end() - 1)
            yield from wrapped(shown, width, indent=indent, hanging=2)


def remark(text: str, width: int, *, warns: bool) -> Iterator[Text]:
    """Yield the lines of a remark about a file."""
    line = Text().append("! ", "yellow") if warns else Text("- ", "dim")
    yield from wrapped(line.append(printable(text), "" if warns else "dim"), width, indent=INDENT, hanging=2)


def title(text: str) -> Text:
    return Text().append("── ", "dim").append(printable(text), "bold")


class Headings:
    """The headings of several files, with aligned columns.

    If the terminal is too narrow, the reason for each file is on a second line.
    """

    def __init__(self, found: Sequence[Heading], width: int, *, rule: bool = True) -> None:
        self.width = width
        self.start, self.fill = ("── ", "─") if rule else ("   ", " ")
        columns = [(each.action, each.owner, each.mode) for each in found]
        self.widths = [max(map(len, column)) for column in zip(*columns, strict=True)]
        facts = sum(2 + size for size in self.widths if size)
        target = max((cell_len(each.target) for each in found), default=0)
        why = max((cell_len(each.why) for each in found), default=0)
        self.one_line = len(self.start) + target + 1 + facts + 2 + why <= width
        self.room = len(self.start) + target if self.one_line else max(width - 1 - facts, 10)

    def lines(self, found: Heading) -> Iterator[Text]:
        failed = found.action == FAILED
        line = Text().append(self.start, "dim").append(found.target, "bold red" if failed else "bold")
        if line.cell_len > self.room:
            yield line
            line = Text(" " * (self.room + 1))
        else:
            line.append(" ").append(self.fill * (self.room - line.cell_len + 1), "dim")
        looks = (ACTIONS.get(found.action, "dim"), "", "dim")
        for text, size, look in zip((found.action, found.owner, found.mode), self.widths, looks, strict=True):
            if size:
                line.append("  ").append(text.ljust(size), look)
        if self.one_line:
            line.append("  ").append(found.why, "dim")
        line.rstrip()
        yield line
        if not self.one_line:
            indent = INDENT if self.fill != " " else INDENT + 2
            yield from wrapped(Text(found.why, "dim"), self.width, indent=indent, hanging=2)


def preview(
    shown: Sequence[Block],
    unchanged: Sequence[Change],
    width: int,
    *,
    body: Callable[[Block], str],
    colour: bool,
) -> Iterator[str]:
    """Yield the report about each file. At the end, list the files that each trigger leaves unchanged.

    ``body`` returns the text below a heading, with colours.
    """
    layout = Headings([block.heading for block in shown], width)
    spaced = True
    for block in shown:
        lines = [] if spaced else [Text()]
        lines += layout.lines(block.heading)
        if block.failed and block.body is not None:
            lines += message(block.body, width, indent=INDENT)
        for text in block.remarks:
            lines += remark(text, width, warns=block.warns)
        yield ansi(lines, colour=colour)
        if block.body is not None and not block.failed:
            yield body(block)
        spaced = block.body is None
    by_trigger: dict[str, list[str]] = {}
    for change in unchanged:
        by_trigger.setdefault(change.trigger, []).append(printable(change.path))
    lines = [] if spaced else [Text()]
    for trigger, paths in by_trigger.items():
        folded = Text(f"unchanged on {printable(trigger)}: {', '.join(paths)}", "dim")
        lines += wrapped(folded, width, hanging=2)
    lines += [Text()] if by_trigger else []
    yield ansi(lines, colour=colour)


#: the colours of the results in the table of hosts
RESULTS = {"same": "green", "differs": "yellow", "fails": "red", "random": "red", "unknown": "red"}


def hosts(table: HostTable, width: int) -> Iterator[Text]:
    """Yield the table of files and hosts, or a list of hosts for each file if the table is too wide."""
    (header, *rows), notes = table_parts(table)
    lines = list(columns([header, *rows]))
    if max(map(cell_len, lines)) <= width:
        yield Text(lines[0], "dim")
        names = cell_len(lines[0]) - cell_len(lines[0].partition("  on ")[2]) - 5 if rows else 0
        for line in lines[1:]:
            shown = Text(line)
            shown.stylize("bold", 0, names)
            for result, look in RESULTS.items():
                shown.highlight_regex(rf"(?<=  ){result}(?= |$)", look)
            yield shown
    else:
        reasons = {}
        while notes and notes[0].startswith("["):
            mark, _, rest = notes.pop(0).partition(" ")
            reasons[mark] = rest.partition(": ")[2]  # the names of the hosts come first
        for path, trigger, *cells in rows:
            yield title(path).append(f"  on {printable(trigger)}", "dim")
            by_result: dict[str, list[str]] = {}
            for host, cell in zip(header[2:], cells, strict=True):
                by_result.setdefault(cell, []).append(host)
            for cell, found in by_result.items():
                result, _, mark = cell.partition(" ")
                entry = Text().append(f"{result:7}", RESULTS.get(result, "dim"))
                entry.append(f"  {'every host' if len(by_result) == 1 else ', '.join(found)}")
                yield from wrapped(entry, width, indent=INDENT, hanging=9)
                if mark:
                    yield from wrapped(Text(printable(reasons[mark])), width, indent=INDENT + 9)
    for note in notes:
        yield from wrapped(Text(printable(note)), width, hanging=4)


#: the colours of severities in `check` and `audit`
SEVERITIES = {
    "critical": "bold red", "high": "red", "error": "red", "medium": "yellow", "warning": "yellow",
    "low": "cyan", "info": "dim",
}  # fmt: skip
