"""A table that compares the plans of all hosts, with a row for each file and a column for each host."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..model.errors import TemplaterError
from ..model.plan import FAILED, SKIP, Change, Outcome, Plan
from ..model.unprintable_characters import printable
from .columns import columns
from .json_escapes import json_text
from .plan_text import CRASH, crashes, deviation_names

SAME, DIFFERS, FAILS, RANDOM, UNKNOWN, ABSENT = "same", "differs", "fails", "random", "unknown", "-"

FindConstruct = Callable[[Plan, Change, Change | None, Plan | None], str]

#: the word in the table for each result of a prediction
_RESULTS = {"fails": FAILS, "hangs": FAILS, "random": RANDOM, "unknown": UNKNOWN}

LONGEST_EXCERPT = 60


@dataclass(frozen=True, slots=True)
class Cell:
    """The result for one file on one host, and the reason if it differs from templater's own result."""

    result: str
    why: str = ""
    #: the names of the deviations that explain the difference
    deviations: tuple[str, ...] = ()
    #: the construct that causes the difference, with its source position
    construct: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: one file in one pass (the rules of one trigger), with a cell for each host."""

    path: str
    trigger: str
    template: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True, slots=True)
class HostTable:
    """The results of all hosts.

    ``errors`` maps a host's name to an error if the host cannot read the image or the whole start fails.
    """

    hosts: tuple[str, ...]
    rows: tuple[Row, ...]
    errors: Mapping[str, str]

    @property
    def exit_code(self) -> int:
        """The exit code of the command: 5 if a host fails or may fail, else 0."""
        bad = {FAILS, RANDOM, UNKNOWN}
        return (
            5 if self.errors or any(c.result in bad for row in self.rows for c in row.cells.values()) else 0
        )


def host_table(plans: Mapping[str, Plan | TemplaterError], find: FindConstruct | None = None) -> HostTable:
    """Compare the plans of ``planning.every_host`` with the first plan.

    The function ``find`` returns the construct of the template that causes a difference.
    """
    errors: dict[str, str] = {}
    changes: dict[str, dict[tuple[str, str, int], Change]] = {}
    for name, plan in plans.items():
        if isinstance(plan, TemplaterError):
            errors[name] = str(plan)
            continue
        if plan.host_error:
            errors[name] = _with_crash(plan, plan.host_error)
        changes[name] = _by_key(plan)
    reference = next(iter(changes.values()), {})
    first_plan = next((plan for plan in plans.values() if isinstance(plan, Plan)), None)
    keys = dict.fromkeys(key for found in changes.values() for key in found)
    rows = []
    for key in keys:
        cells = {}
        for name, plan in plans.items():
            change = changes.get(name, {}).get(key)
            cells[name] = Cell(ABSENT) if change is None else _cell(plan, change, reference.get(key))
            different = cells[name].result in (DIFFERS, FAILS)
            if find is not None and different and change is not None and isinstance(plan, Plan):
                construct = find(plan, change, reference.get(key), first_plan)
                cells[name] = replace(cells[name], construct=construct)
        first = next(found[key] for found in changes.values() if key in found)
        rows.append(Row(key[1], first.trigger, first.rule.template, cells))
    return HostTable(tuple(plans), tuple(rows), errors)


def table_text(table: HostTable) -> str:
    """Return the table as plain text, followed by the reasons as numbered notes without duplicates."""
    cells, notes = table_parts(table)
    return "".join(f"{line.rstrip()}\n" for line in (*columns(cells), *notes))


def table_parts(table: HostTable) -> tuple[list[list[str]], list[str]]:
    """Return the rows of the table with its header, and the lines below the table."""
    notes: dict[tuple[str, Cell], list[str]] = {}
    numbers: dict[tuple[str, Cell], int] = {}
    lines = [["file", "on", *table.hosts]]
    for row in table.rows:
        cells = []
        for host in table.hosts:
            cell = row.cells[host]
            mark = ""
            if cell.why:
                note = (row.path, Cell("", cell.why, cell.deviations, cell.construct))
                mark = f" [{numbers.setdefault(note, len(numbers) + 1)}]"
                notes.setdefault(note, []).append(host)
            cells.append(cell.result + mark)
        lines.append([row.path, row.trigger, *cells])
    text = []
    for note, hosts in notes.items():
        _, cell = note
        names = f" (templater differs: {'; '.join(cell.deviations)})" if cell.deviations else ""
        cause = f": {cell.construct}" if cell.construct else ""
        text.append(
            f"[{numbers[note]}] {', '.join(dict.fromkeys(hosts))}: {printable(cell.why)}{names}{cause}"
        )
    text += [f"{host}: the start fails: {printable(error)}" for host, error in table.errors.items()]
    return lines, text


def table_data(table: HostTable) -> dict[str, Any]:
    """Return the table as data for ``json.dumps``."""
    return {
        "hosts": list(table.hosts),
        "files": [
            {
                "path": json_text(row.path),
                "trigger": row.trigger,
                "template": json_text(row.template),
                "hosts": {
                    host: {"result": cell.result}
                    | ({"why": json_text(cell.why)} if cell.why else {})
                    | ({"deviations": list(cell.deviations)} if cell.deviations else {})
                    | ({"construct": json_text(cell.construct)} if cell.construct else {})
                    for host, cell in row.cells.items()
                    if cell.result != ABSENT
                },
            }
            for row in table.rows
        ],
        "errors": {host: json_text(error) for host, error in table.errors.items()},
    }


def _by_key(plan: Plan) -> dict[tuple[str, str, int], Change]:
    """Return a plan's changes as a dict. A key consists of the trigger, the path, and a number.

    The number makes the keys unique.
    """
    found: dict[tuple[str, str, int], Change] = {}
    counts: dict[tuple[str, str], int] = {}
    for change in (*plan.changes, *plan.agent):
        name = (change.trigger, change.path)
        counts[name] = counts.get(name, 0) + 1
        found[(*name, counts[name])] = change
    return found


def _cell(plan: Plan | TemplaterError, change: Change, reference: Change | None) -> Cell:
    assert isinstance(plan, Plan)
    outcome = plan.outcome(change)
    if outcome is None:
        return Cell(UNKNOWN, "templater cannot read this part of the root filesystem")
    names = tuple(deviation_names(plan, change))
    if outcome.result in _RESULTS:
        why = _with_crash(plan, outcome.error) or outcome.text
        return Cell(_RESULTS[outcome.result], f"hangs: {why}" if outcome.result == "hangs" else why, names)
    if differences := "; ".join(_differences(change, outcome, reference)):
        return Cell(DIFFERS, differences, names)
    return Cell(SAME)


def _with_crash(plan: Plan, error: str) -> str:
    return f"{CRASH}: {error}" if crashes(plan, error) else error


def _differences(change: Change, outcome: Outcome, reference: Change | None) -> Iterator[str]:
    if change.action == FAILED and change.error is not None:
        yield f"the host accepts the rule, but templater refuses it: {change.error.message}"
    elif (outcome.result == "skipped") != (change.action == SKIP):
        yield f"the file is {outcome.result}"
    elif (
        reference is not None
        and reference.content not in (None, change.content)
        and outcome.result == "written"
    ):
        yield f"renders {_excerpt(change, reference)}"
    if outcome.text:
        yield outcome.text


def _excerpt(change: Change, reference: Change) -> str:
    """Return the first line that differs between two files, such as "'a' in line 3, not 'b'"."""
    ours, theirs = (
        (each.content or b"").decode("utf-8", "replace").split("\n") for each in (change, reference)
    )
    length = min(len(ours), len(theirs))
    number = next((n for n in range(length) if ours[n] != theirs[n]), length)
    shown = [lines[number] if number < len(lines) else "" for lines in (ours, theirs)]
    one, other = (text if len(text) <= LONGEST_EXCERPT else f"{text[:LONGEST_EXCERPT]}…" for text in shown)
    return f"'{one}' in line {number + 1}, not '{other}'"
