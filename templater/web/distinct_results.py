"""The values that a page shows: instances, their files, and the distinct results of each file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..model.hosts import HOSTS
from ..model.plan import AGENT, FAILED, SKIP, WRITING, Change, Plan
from ..reporting.plan_text import differences, outcome_text, unchanged, verdict

if TYPE_CHECKING:
    from ..model.errors import TemplaterError
    from ..model.instance import Instance
    from ..model.source import Source
    from ..pongo2.tracing.recorder import Name
    from ..rendering.origins import Line

#: a function that returns the lines of a change's content with their origins, or None if these are unknown
Explain = Callable[[Change], "list[Line] | None"]
#: a function that returns the names that a change's template reads, or None if unknown
Reads = Callable[[Change], "Collection[Name] | None"]


@dataclass(frozen=True, slots=True)
class Column:
    """A simulated run of an instance's triggers on one host. ``plan`` is an error if planning failed.

    ``side`` is "before" or "after" in a comparison, else "".
    """

    host: str
    passes: tuple[str, ...]
    plan: Plan | TemplaterError
    explain: Explain
    reads: Reads
    sources: Mapping[str, Source]
    side: str = ""

    @property
    def label(self) -> str:
        return " ".join(filter(None, (self.side, self.host, "on", " then ".join(self.passes))))

    @property
    def code(self) -> int:
        return verdict(self.plan) if isinstance(self.plan, Plan) else self.plan.exit_code


@dataclass(slots=True, eq=False)
class Variant:
    """One distinct result for a file.

    ``columns`` lists the indexes of the runs that have this result. ``source`` is the template, or None if
    the template is missing.
    """

    change: Change
    source: Source | None
    columns: list[int]
    lines: list[Line] | None
    #: the names that the template reads (None if unknown), by the side and the dialect of the columns.
    #: The names are needed only if a part of the result has no known origin: an error, or unknown lines.
    reads: dict[tuple[str, str], Collection[Name] | None] = field(default_factory=dict)
    #: each remark, with the hosts that the remark is about ("" for a remark about no host)
    remarks: dict[str, dict[str, None]] = field(default_factory=dict)
    #: for each remark that quotes an error of a host: the remark without the error
    short_remarks: dict[str, str] = field(default_factory=dict)
    #: the triggers that write the file
    triggers: dict[str, None] = field(default_factory=dict)
    #: the later passes that leave the file unchanged
    unchanged_on: dict[str, None] = field(default_factory=dict)
    #: whether the host fails in one of the columns
    host_fails: bool = False

    @property
    def is_in_guest(self) -> bool:
        return self.change.trigger == AGENT

    @property
    def has_content(self) -> bool:
        change = self.change
        return change.content is not None and change.action not in (FAILED, SKIP) and not self.is_in_guest

    @property
    def word(self) -> str:
        """The result in one or two words."""
        if self.change.action == FAILED:
            return "failed"
        return f"{self.change.action}, host fails" if self.host_fails else self.change.action

    @property
    def is_problem(self) -> bool:
        return self.change.action == FAILED or self.host_fails


@dataclass(slots=True)
class FileView:
    """A file of an instance, with the distinct results of all hosts and triggers."""

    path: str
    variants: list[Variant] = field(default_factory=list)

    def of_column(self, number: int) -> list[Variant]:
        return [variant for variant in self.variants if number in variant.columns]


@dataclass(slots=True)
class InstanceView:
    """An instance, its runs, and the files of all runs in the order of the rules."""

    instance: Instance
    columns: Sequence[Column]
    files: list[FileView]

    @property
    def code(self) -> int:
        return max((column.code for column in self.columns), default=0)


def instance_view(instance: Instance, columns: Sequence[Column]) -> InstanceView:
    """Collect the files of all runs. Runs with the same result for a file share one variant.

    Each item of ``columns`` is one run.
    """
    files: dict[str, FileView] = {}
    known: dict[Any, Variant] = {}
    for number, column in enumerate(columns):
        if isinstance(column.plan, Plan):
            _add(column.plan, number, column, files, known)
    return InstanceView(instance, columns, list(files.values()))


def _add(
    plan: Plan, number: int, column: Column, files: dict[str, FileView], known: dict[Any, Variant]
) -> None:
    folded = set(unchanged(plan))
    last = {
        change.real: change for change in plan.changes if change.content is not None and change not in folded
    }
    current: dict[str, Variant] = {}
    for change in (*plan.changes, *plan.agent):
        if change in folded:
            current[change.real].unchanged_on[change.trigger] = None
            continue
        in_guest = change.trigger == AGENT
        file = files.setdefault(f"in the guest: {change.path}" if in_guest else change.path, FileView(""))
        file.path = f"in the guest: {change.path}" if in_guest else change.path
        key = file.path, _facts(change)
        variant = known.get(key)
        if variant is None:
            variant = known[key] = _variant(change, column)
            file.variants.append(variant)
        if number not in variant.columns:
            variant.columns.append(number)
        current[change.real] = variant
        variant.triggers[change.trigger] = None
        full, short = (outcome_text(plan, change, with_error=each) for each in (True, False))
        for text in differences(plan, change):
            host = plan.host.name if text.startswith(f"{plan.host.name}: ") else ""
            remark = text.removeprefix(f"{host}: ")
            variant.remarks.setdefault(remark, {})[host] = None
            if text == full != short:
                variant.short_remarks[remark] = short.removeprefix(f"{host}: ")
        later = last.get(change.real)
        if change.action in WRITING and later is not None and later is not change:
            variant.remarks.setdefault(f"written again on {later.trigger}", {})[""] = None
        outcome = plan.outcome(change)
        variant.host_fails = variant.host_fails or (outcome is not None and not outcome.ok)
        kind = column.side, HOSTS[column.host].dialect
        if kind not in variant.reads and (variant.lines is None or variant.short_remarks):
            variant.reads[kind] = column.reads(change)


def _variant(change: Change, column: Column) -> Variant:
    found = Variant(change, column.sources.get(change.rule.template), [], None)
    if found.has_content:
        found.lines = column.explain(change)
    return found


def _facts(change: Change) -> tuple[object, ...]:
    error = None if change.error is None else change.error.explain()
    return (
        change.rule.path, change.rule.template, change.action, change.real, change.content,
        change.uid, change.gid, change.mode, change.reason, error,
    )  # fmt: skip
