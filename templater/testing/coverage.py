"""Test coverage of an image: the rules, lines, branches and variables that tests reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from ..model.errors import TemplaterError
from ..model.hosts import HOSTS
from ..model.render_options import RenderOptions
from ..model.source import Source
from ..model.unprintable_characters import printable
from ..pongo2.dialect import DIALECTS
from ..pongo2.names_read import BUILT_IN
from ..pongo2.parse_with_includes import Compilation
from ..pongo2.tracing.instrumented_template import TracedTemplate
from ..pongo2.tracing.recorder import Name
from ..rendering.instance_context import Contexts
from ..rendering.origins import name_of
from ..rendering.unknown_names import parsed_reads
from .read_tests import cleaned
from .render_case import HeldImage, Result, Subject

#: maximum number of missed parts of each kind in a report
MOST = 1000
KINDS = ("rules", "lines", "branches", "reads")


class _Template:
    """A template, and the parts of the template that tests have reached."""

    def __init__(self, source: Source, dialect: str) -> None:
        self.source = source
        self.program = TracedTemplate(Compilation(source, DIALECTS[dialect]))
        self.reads: dict[Name, str] = {}
        for read in parsed_reads(source, dialect):
            if read.path[0] in BUILT_IN:
                continue
            self.reads.setdefault(name_of(read), read.span.place)
        self.reached: set[int] = set()
        self.read: set[Name] = set()

    @property
    def is_complete(self) -> bool:
        return len(self.reached) == len(self.program.branches) and self.read.issuperset(self.reads)

    def render(self, context: dict[str, Any], options: RenderOptions) -> None:
        trace, _ = self.program.record(context, clock=options.clock, seed=options.seed, limits=options.limits)
        self.reached |= trace.reached
        prefixes = {name[:length] for name in trace.everything for length in range(1, len(name) + 1)}
        self.read |= prefixes & self.reads.keys()


class Coverage:
    """The coverage of a run. A part of a template counts once, even if several builds contain it."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._templates: dict[tuple[str, bytes, str], _Template | None] = {}
        self._rules: set[str] = set()

    def add(self, image: HeldImage, result: Result) -> None:
        """Record the rules and the parts of templates that a run reaches."""
        options = self.subject.options_for(result.host)
        contexts = Contexts(result.instance, result.host)
        for change in result.due:
            self._rules.add(cleaned(change.rule.path))
            template = self._template(image, change.rule.template, options.dialect)
            if template is not None and not template.is_complete:
                options.check_time()
                template.render(contexts.of(change.rule, change.trigger), options)

    def _template(self, image: HeldImage, name: str, dialect: str) -> _Template | None:
        """Return a template, or None if it is missing or does not compile."""
        file = image.templates.get(name)
        if file is None or file.data is None:
            return None
        key = name, file.data, dialect
        if key not in self._templates:
            source = file.source(f"{printable(image.name)}/templates/{name}")
            try:
                self._templates[key] = _Template(source, dialect)
            except TemplaterError:
                self._templates[key] = None
        return self._templates[key]

    def report(self) -> dict[str, dict[str, Any]]:
        """Return the number of parts of each kind, and the missed parts with their places."""
        found: dict[str, dict[tuple[str, str], bool]] = {kind: {} for kind in KINDS}

        def add(kind: str, place: str, message: str, *, reached: bool) -> None:
            parts = found[kind]
            parts[place, message] = parts.get((place, message), False) or reached

        dialect = next((dialect for _, _, dialect in self._templates), HOSTS["incus"].dialect)
        rendered = {name for name, _, _ in self._templates}
        for image in self.subject.images:
            for rule in image.rules:
                place = rule.spans["path"].place
                reached = cleaned(rule.path) in self._rules
                add("rules", place, f"no test writes '{printable(rule.path)}'", reached=reached)
                if rule.template not in rendered:
                    self._template(image, rule.template, dialect)
        for template in filter(None, self._templates.values()):
            for kind, place, message, reached in parts_of(template):
                add(kind, place, message, reached=reached)
        return {kind: summary_of(parts) for kind, parts in found.items()}


def parts_of(template: _Template) -> Iterator[tuple[str, str, str, bool]]:
    """Yield the kind, place and message of each part of a template, and whether a test reached it."""
    source, program = template.source, template.program
    for number, branch in enumerate(program.branches):
        place = source.span(branch.start, branch.start).place
        yield "branches", place, branch.message, number in template.reached
    lines: dict[int, tuple[int, bool]] = {}
    for start, number in program.statements:
        line = source.line_at(start)
        first, reached = lines.get(line, (start, False))
        lines[line] = min(first, start), reached or number in template.reached
    for start, reached in lines.values():
        yield "lines", source.span(start, start).place, "no test runs this line", reached
    for name, place in template.reads.items():
        yield "reads", place, f"no test reads '{printable('.'.join(name))}'", name in template.read


def summary_of(parts: dict[tuple[str, str], bool]) -> dict[str, Any]:
    missed = [
        {"place": place, "message": message} for (place, message), reached in parts.items() if not reached
    ]
    return {"covered": len(parts) - len(missed), "total": len(parts), "missed": missed[:MOST]}


def percent(report: dict[str, dict[str, Any]]) -> float:
    """Return the percentage of branches that tests reach."""
    branches = report["branches"]
    return 100.0 * branches["covered"] / branches["total"] if branches["total"] else 100.0


def coverage_lines(report: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield a summary, and a line for each missed part. Neighbouring lines are shown as one range."""
    words = (f"{report[kind]['covered']} of {report[kind]['total']} {kind}" for kind in KINDS)
    yield f"coverage: {', '.join(words)}"
    for kind in ("rules", "branches", "reads"):
        for part in report[kind]["missed"]:
            yield f"  {part['place']}: {part['message']}"
    yield from missed_lines(part["place"] for part in report["lines"]["missed"])


def missed_lines(places: Iterable[str]) -> Iterator[str]:
    numbers = [(name, int(line)) for name, line, _ in (place.rsplit(":", 2) for place in places)]
    for name, of_file in groupby(sorted(numbers), key=lambda each: each[0]):
        for _, run in groupby(enumerate(line for _, line in of_file), key=lambda pair: pair[1] - pair[0]):
            found = [line for _, line in run]
            if len(found) == 1:
                yield f"  {name}:{found[0]}: no test runs this line"
            else:
                yield f"  {name}:{found[0]}: no test runs lines {found[0]} to {found[-1]}"
