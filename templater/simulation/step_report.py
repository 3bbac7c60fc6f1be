"""The report of a simulated step, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..model.errors import TemplaterError
from ..model.plan import Change, Plan
from ..model.unprintable_characters import printable, printable_lines
from ..prediction.deviations import deviations_at
from ..reporting.json_data import change_data, error_data
from ..reporting.patch import diff
from ..reporting.plan_text import headline
from .host_results import Started
from .parse_steps import Step


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a step. ``started`` is set if the step started the instance."""

    step: Step
    name: str
    #: the trigger that the next start runs before ``start``, or empty
    pending: str
    started: Started | None = None
    error: TemplaterError | None = None
    #: whether the step deleted the instance because it was ephemeral
    gone: bool = False
    #: the name of the profile that the step added
    profile: str = ""

    @property
    def plan(self) -> Plan | None:
        return None if self.started is None else self.started.plan

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes that the step wrote."""
        return () if self.started is None else self.started.changes

    @property
    def shown(self) -> tuple[Change, ...]:
        """The changes that the step wrote, followed by the changes that failed."""
        failed = () if self.plan is None else (each for each in self.plan.changes if each.error is not None)
        return (*self.changes, *failed)

    @property
    def note(self) -> str:
        """A one-line summary of the step."""
        if self.error is not None:
            gone = " (the ephemeral instance is deleted)" if self.gone else ""
            verb = (
                "has an unknown result"
                if self.started is not None and self.started.limit is not None
                else "fails"
            )
            return f"{self.name}: {self.step.verb} {verb}{gone}: {self.error}"
        if self.gone:
            return f"{self.name}: {self.step.verb}: nothing is rendered; the ephemeral instance is deleted"
        if self.started is not None:
            count = len(self.changes)
            written = f"{count} file{'s' if count > 1 else ''}" if count else "nothing"
            unknown = f"; {len(self.started.unknown)} unknown" if self.started.unknown else ""
            return f"{self.name}: {' then '.join(self.started.plan.triggers)}: writes {written}{unknown}"
        pending = f"; the next start runs the {self.pending} trigger" if self.pending else ""
        return f"{self.name}: {_describe_step(self.step, self.profile)}: nothing is rendered{pending}"


def _describe_step(step: Step, profile: str) -> str:
    if step.verb not in ("c", "d", "p"):
        return step.verb
    key, equals, value = step.argument.partition("=")
    if step.verb == "p":
        return f"profile {printable(profile or key)} is {'removed' if equals else 'added'}"
    what = printable(key.replace(",", " ", 1)) if step.verb == "d" else printable(key)
    return f"{what} is {'set' if value else 'unset' if step.verb == 'c' or ',' in key else 'removed'}"


def format_report(report: Report, *, as_diff: bool) -> str:
    """Return the text that `templater simulate` prints for a step."""
    lines = [f"{report.step.text}\n  {printable_lines(report.note)}\n"]
    started = report.started
    if started is not None:
        if as_diff:
            lines.append(patch_of(report))
        else:
            lines += [f"  {headline(change)}\n" for change in report.shown]
        lines += [f"  ! {printable_lines(remark)}\n" for remark in started.remarks]
        lines += [
            f"  ? {printable(path)}: unknown: {printable_lines(reason)}\n"
            for path, reason in sorted(started.unknown.items())
        ]
    if report.error is not None:
        more = report.error.explain().split("\n")[1:]  # `note` already contains the first line
        lines += [f"  {printable_lines(line)}\n" for line in more]
    return "".join(lines)


def patch_of(report: Report) -> str:
    """Return the changes that the step wrote, as a patch."""
    plan = report.plan
    if plan is None:
        return ""
    return diff(Plan(plan.metadata, plan.instance, plan.host, plan.triggers, report.changes))


def report_data(report: Report) -> dict[str, Any]:
    """Return the object that `templater simulate --format json` prints for a step."""
    started = report.started
    return {
        "step": report.step.text,
        "instance": report.name,
        "pending": report.pending,
        "triggers": [] if started is None else list(started.plan.triggers),
        "changes": [change_data(change) for change in report.changes],
        "unknown": [] if started is None else sorted(started.unknown),
        "remarks": [] if started is None else list(started.remarks),
        "error": None if report.error is None else error_data(report.error),
    }


def deviation_remarks(plan: Plan) -> Iterable[str]:
    """Yield the plan's notes, then each of templater's deviations from the host, with the affected files."""
    found: dict[str, list[str]] = {}
    for change in (*plan.changes, *plan.agent):
        for deviation in deviations_at(plan, change):
            text = f"templater differs ({deviation.name}): {deviation.ours}"
            if change.path not in found.setdefault(text, []):
                found[text].append(change.path)
    yield from plan.notes
    for text, paths in found.items():
        yield f"{', '.join(printable(path) for path in paths)}: {text}"
