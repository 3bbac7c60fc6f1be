"""Explanations of rendered files: as text with a marker below each value, and as data for ``json.dumps``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..model.metadata import TRIGGERS, Rule
from ..model.plan import FAILED, SKIP, WRITING, Change
from ..model.unprintable_characters import printable
from ..rendering.origins import ALL_DEVICES, KINDS, NOTHING, VALUE, Line, Origin, Part, Reading
from .json_data import error_data
from .json_escapes import json_text
from .plan_text import headline, indented, written_again

#: the maximum indentation of a marker; a marker for a value further right gets no indentation
MAX_INDENT = 60
#: the maximum number of origins that one marker names
MAX_NAMED = 8


class Explained(NamedTuple):
    """The explanation of one file in one pass. A pass runs the rules of one trigger.

    * ``lines``: None for a file with ``later``, for unknown origins, and for a failed or skipped change
    * ``later``: the change in a later pass that renders the file again
    """

    change: Change
    lines: list[Line] | None
    later: Change | None = None


class Chunk(NamedTuple):
    """A part of a line of the report.

    ``kind`` decides the part's colour. It is "heading", a kind of origin, or "".
    """

    text: str
    kind: str = ""


class Continuation(NamedTuple):
    """The first part of a line that can continue a value from an earlier line.

    ``last`` is the index of the line in which the value ends.
    """

    first: Part
    last: int

    def continues(self, part: Part) -> bool:
        """Return whether this line's first part continues ``part``, which is in an earlier line."""
        return self.first[1:] == part[1:]


Row = list[Chunk]


def rows(explained: Explained) -> Iterator[Row]:
    """Yield the lines of the report about one file, without line endings."""
    change = explained.change
    yield [Chunk(f"==> {headline(change)}", "heading")]
    path = "" if change.path.startswith("/") else f"{printable(change.rule.path)}: "  # config drive
    yield [Chunk(f"    {path}{when_written(change.rule)}")]
    if change.error is not None:
        yield from ([Chunk(text)] for text in indented(change.error.explain()).splitlines())
    elif explained.later is not None:
        yield [Chunk(f"    {written_again(explained.later)}")]
    elif explained.lines is None:
        yield [Chunk(f"    {unexplained(change)}")]
    else:
        yield from line_rows(explained.lines)
        if not change.content:
            yield [Chunk("    (empty)")]


def unexplained(change: Change) -> str:
    if change.action == SKIP:
        return "nothing is written: the file exists"
    return "the origins are not shown: the file has too many lines, parts or origins"


def when_written(rule: Rule) -> str:
    """Return a text with the triggers at which a rule writes its file, and the remaining triggers."""
    if rule.null:
        return "never written: the entry is null"
    due = [trigger for trigger in TRIGGERS if trigger in rule.when]
    other = [trigger for trigger in TRIGGERS if trigger not in rule.when]
    if not due:
        return "never written: the rule has no valid trigger"
    only = ", only if the file does not exist (create_only)" if rule.create_only else ""
    rest = f"; not on {joined(other, 'or')}" if other else ""
    return f"{'written' if only else 'rewritten'} on {joined(due, 'and')}{only}{rest}"


def joined(words: Sequence[str], last: str) -> str:
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def line_rows(lines: Sequence[Line]) -> Iterator[Row]:
    """Yield the rows for each line: new conditions, the line itself, and markers for its values."""
    width = max(len(str(lines[-1].number)) if lines else 1, 3)
    margin = f"{'':{width}} {'':{width}} | "
    because: tuple[Origin, ...] = ()
    last: Part | None = None
    following = continuations(lines)
    for index, line in enumerate(lines):
        printed = [part for part in line.parts if part.kind != NOTHING]
        base = printed[0].because if printed else because
        if base != because:
            text = f"because {named(base)}" if base else "without a condition"
            yield [Chunk(f"{margin}({text})")]
            because = base
        texts = [Chunk(printable(part.text), colour_of(part)) for part in line.parts]
        if printed or not line.parts:
            yield [Chunk(f"{line.number:>{width}} {line.template_line:>{width}} | "), *texts]
        column = 0
        for part, chunk in zip(line.parts, texts, strict=True):
            more = part.because[len(base) :] if part.because[: len(base)] == base else part.because
            continued = last is not None and is_continued(last, part)
            if part.kind != NOTHING and not continued and (more or part.kind == VALUE):
                below = following[index]
                count = below.last - index + 1 if below is not None and below.continues(part) else 1
                yield marker(margin, column, chunk, part, more, count)
            column += len(chunk.text)
            last = part
        for part in line.parts:
            if part.kind == NOTHING:
                place = f"{'':{width}} {part.line:>{width}} | "
                yield [Chunk(f"{place}(nothing, because {named(part.because)})")]


def colour_of(part: Part) -> str:
    return kind_of(part.origins) if part.kind == VALUE else ""


def is_continued(before: Part, part: Part) -> bool:
    """Return whether a part continues the value or text of the previous part on a new line."""
    return before[1:] == part[1:] if part.kind == VALUE else before[3:] == part[3:]


def continuations(lines: Sequence[Line]) -> list[Continuation | None]:
    """Return, for each line, the first part in the lines below, or None if all lines below are empty."""
    found: list[Continuation | None] = []
    below: Continuation | None = None
    for index in range(len(lines) - 1, -1, -1):
        found.append(below)
        if lines[index].parts:
            first = lines[index].parts[0]
            last = below.last if below is not None and below.continues(first) else index
            below = Continuation(first, last)
    return found[::-1]


def marker(margin: str, column: int, chunk: Chunk, part: Part, more: Sequence[Origin], lines: int) -> Row:
    """Return a row with the origins of a value. The report shows the row below the value's line."""
    words = ""
    if part.kind == VALUE:
        words = named(part.origins) or "the template itself"
        words += f" ({lines} lines)" if lines > 1 else "" if chunk.text else " (empty)"
    if more:
        words += f"{', ' if words else ''}because {named(more)}"
    far = column > MAX_INDENT
    carets = "^" if far or not chunk.text else "^" * min(len(chunk.text), MAX_INDENT)
    return [Chunk(f"{margin}{'' if far else ' ' * column}"), Chunk(f"{carets} {words}", chunk.kind)]


def named(origins: Sequence[Origin]) -> str:
    """Return the names of values with their origins, such as ``user.foo: profile web``.

    The origin "all devices" is omitted if the origins also contain individual devices.
    """
    if any(origin.name.startswith("devices.") for origin in origins):
        origins = [origin for origin in origins if origin.name != ALL_DEVICES]
    words: list[str] = []
    for before, origin in zip([None, *origins], origins[:MAX_NAMED], strict=False):
        if origin.kind == "default" and before is not None and before.kind == "undefined":
            words[-1] += ", so the default"
        elif origin.kind in ("default", "several"):
            words.append(printable(origin.name))
        else:
            words.append(printable(f"{origin.name}: {origin.words}"))
    more = max(len(origins) - MAX_NAMED, 0)
    return "; ".join([*words, *([f"{more} more"] if more else [])])


def kind_of(origins: Sequence[Origin]) -> str:
    """Return the kind of origin that decides a value's colour, or "" without origins.

    The last kind decides. Other kinds have precedence over "default", and "default" over "undefined".
    """
    kinds = [origin.kind for origin in origins if origin.kind != "undefined"]
    kinds = [kind for kind in kinds if kind != "default"] or kinds
    return kinds[-1] if kinds else "undefined" if origins else ""


def kinds_in(files: Iterable[Explained]) -> list[str]:
    """Return the kinds of origins that the files contain, in the order of the legend."""
    found = {
        origin.kind
        for file in files
        for line in file.lines or ()
        for part in line.parts
        if part.kind == VALUE
        for origin in part.origins
    }
    return [kind for kind in KINDS if kind in found]


def reading_rows(template: str, rules: Sequence[Rule], found: Sequence[Reading]) -> Iterator[Row]:
    """Yield the lines of the report about the names that one template reads."""
    paths = ", ".join(printable(rule.path) for rule in rules)
    yield [Chunk(f"==> {printable(template)}  {paths}", "heading")]
    if not found:
        yield [Chunk("    reads nothing")]
    width = max((len(printable(reading.origin.name)) for reading in found), default=0)
    for reading in found:
        name = f"{printable(reading.origin.name):{min(width, MAX_INDENT)}}"
        where = f"line{'s' if len(reading.lines) > 1 else ''} {', '.join(map(str, reading.lines))}"
        words = Chunk(printable(reading.origin.words), reading.origin.kind)
        yield [Chunk(f"    {name}  "), words, Chunk(f"  {where}")]


# --- data


def failed(files: Iterable[Explained]) -> bool:
    return any(file.change.action == FAILED for file in files)


def explained_data(explained: Explained) -> dict[str, Any]:
    change = explained.change
    rule = change.rule
    data: dict[str, Any] = {
        "path": json_text(change.path),
        "rule": json_text(rule.path),
        "template": json_text(rule.template),
        "trigger": change.trigger,
        "when": [json_text(trigger) for trigger in rule.when],
        "create_only": rule.create_only,
        "action": change.action,
    }
    if explained.later is not None:
        key = "written_again_on" if explained.later.action in WRITING else "not_changed_on"
        data[key] = explained.later.trigger
    if change.error is not None:
        data["error"] = error_data(change.error)
    data["lines"] = None if explained.lines is None else [line_data(line) for line in explained.lines]
    return data


def line_data(line: Line) -> dict[str, Any]:
    return {
        "line": line.number,
        "template_line": line.template_line,
        "parts": [part_data(part) for part in line.parts],
    }


def part_data(part: Part) -> dict[str, Any]:
    data: dict[str, Any] = {
        "text": json_text(part.text),
        "kind": part.kind,
        "template_line": part.line,
        "template_column": part.column,
    }
    if part.kind == VALUE:
        data["origins"] = [origin_data(origin) for origin in part.origins]
    if part.because:
        data["because"] = [origin_data(origin) for origin in part.because]
    return data


def origin_data(origin: Origin) -> dict[str, Any]:
    data: dict[str, Any] = {"name": json_text(origin.name), "kind": origin.kind}
    if origin.detail:
        data["detail"] = json_text(origin.detail)
    if origin.span is not None:
        span = origin.span.origin
        data |= {"file": json_text(span.source.name), "line": span.line}
    return data


def reading_data(template: str, rules: Sequence[Rule], found: Sequence[Reading]) -> dict[str, Any]:
    return {
        "template": json_text(template),
        "paths": [json_text(rule.path) for rule in rules],
        "reads": [{**origin_data(reading.origin), "lines": list(reading.lines)} for reading in found],
    }
