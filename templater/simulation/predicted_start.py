"""The result of a simulated start: the files that the host writes, remarks, and errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field

from ..model.entry import DIRECTORY, FILE
from ..model.errors import HostError, TemplaterError
from ..model.hosts import Host
from ..model.plan import Change, Plan
from ..model.source import printable
from ..prediction.deviations import deviations_at
from .host_start import HostStart
from .simulated_instance import WritableRootfs


@dataclass(frozen=True, slots=True)
class Started:
    """The result of a start. ``unknown`` maps each path that templater cannot predict to the reason."""

    plan: Plan
    changes: tuple[Change, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    #: the templater limit that stopped a render; the host has no limit, so its result is unknown
    limit: TemplaterError | None = None


class StartError(TemplaterError):
    """A failed start. ``cause`` is the error, and ``started`` describes the files that the start wrote."""

    kind = "start"

    def __init__(self, started: Started, cause: TemplaterError) -> None:
        super().__init__(cause.message, cause.span, cause.hint, cause.notes)
        self.started = started
        self.cause = cause
        self.exit_code = cause.exit_code

    @property
    def plan(self) -> Plan:
        return self.started.plan


def host_errors(plan: Plan) -> Iterable[TemplaterError]:
    """Yield the errors that make the start fail on the host."""
    if plan.host_error:
        yield HostError(f"{plan.host.name}: {plan.host_error}")
    for change in plan.changes:
        outcome = plan.outcome(change)
        if outcome is not None and outcome.result in ("fails", "hangs"):
            words = outcome.error or outcome.text
            yield HostError(f"{plan.host.name}: {words}", change.rule.spans.get("path"))


def start_error(host: Host, found: HostStart) -> TemplaterError:
    """Return the error of a failed start.

    If templater fails at the same rule, return templater's error, because it has a position. For an error of
    a system call, return the host's error.
    """
    change = found.failed
    if change is not None and change.error is not None and change.error.kind != "write":
        return change.error
    verb = "hangs" if found.hangs else "fails"
    span = None if change is None else change.rule.spans.get("path")
    return HostError(f"the start {verb} on {host.name}: {printable(found.error)}", span)


def deviation_remarks(plan: Plan) -> Iterable[str]:
    """Yield the plan's notes, then each deviation from the host with the files that it affects."""
    found: dict[str, list[str]] = {}
    for change in (*plan.changes, *plan.agent):
        for deviation in deviations_at(plan, change):
            text = f"templater differs ({deviation.name}): {deviation.ours}"
            if change.path not in found.setdefault(text, []):
                found[text].append(change.path)
    yield from plan.notes
    for text, paths in found.items():
        yield f"{', '.join(printable(path) for path in paths)}: {text}"


def write_host_files(rootfs: WritableRootfs, found: HostStart, plan: Plan) -> Iterable[str]:
    """Write the files that the host certainly writes. Return remarks on files that differ from the plan."""
    remarks = []
    planned = {change.real: change.content for change in plan.changes}
    for path, node in found.written.items():
        entry = rootfs.entry(path)
        if node.kind == DIRECTORY:
            if entry is None:
                rootfs.mkdir(path, node.mode, node.uid, node.gid)
            continue
        if node.kind != FILE or node.content is None:
            continue
        if entry is None:
            rootfs.write(path, node.content, node.mode, node.uid, node.gid)
        else:
            rootfs.overwrite(path, node.content)
        if planned.get(path) != node.content:
            left = "left empty" if not node.content else "written"
            remarks.append(f"{printable(path)}: {left} by {plan.host.name}")
    return remarks


def reason_unknown(plan: Plan) -> str:
    limited = any(change.render_error is not None for change in plan.changes)
    return "a templater limit stopped the render" if limited else "two rules write this file, in random order"


def host_changes(plan: Plan, found: HostStart, unknown: Mapping[str, str]) -> Iterable[Change]:
    """Yield the planned changes that the host certainly makes, with the host's owner and mode."""
    for change in plan.files():
        node = found.written.get(change.real)
        if node is None or change.real in unknown or node.content != change.content:
            continue
        made = copy(change)
        made.uid, made.gid, made.mode = node.uid, node.gid, node.mode
        yield made
