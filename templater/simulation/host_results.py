"""The simulated results of a start on a host: written files with remarks, and errors.

A host can refuse an image or a new instance, and the start of an instance can fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..model.architectures import ALL_NAMES
from ..model.entry import DIRECTORY, FILE
from ..model.errors import HostError, TemplaterError
from ..model.hosts import Host
from ..model.metadata import Metadata
from ..model.plan import FAILED, Change, Plan
from ..model.unprintable_characters import printable
from .simulated_instance import Folder, WritableRootfs

if TYPE_CHECKING:
    from ..prediction.simulated_start import HostStart

#: the results of a rule that end a start
FATAL = ("fails", "hangs")


@dataclass(frozen=True, slots=True)
class Started:
    """The result of a start. ``unknown`` has the reason for each path that templater cannot predict."""

    plan: Plan
    changes: tuple[Change, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    #: the templater limit that stopped a render; the host has no limit, so the host's result is unknown
    limit: TemplaterError | None = None


def write_host_files(rootfs: WritableRootfs, found: HostStart, plan: Plan) -> Iterable[str]:
    """Write, into the simulated root filesystem, the files that the host certainly writes.

    Return remarks on the files that differ from the plan.
    """
    remarks = []
    planned = {change.real: change.content for change in plan.changes}
    for path, node in found.written.items():
        entry = rootfs.entry(path)
        if node.kind == DIRECTORY and entry is None:
            rootfs.mkdir(path, node.mode, node.uid, node.gid)
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
    return (
        "a limit of templater stopped the render" if limited else "two rules write this file, in random order"
    )


def host_changes(plan: Plan, found: HostStart, unknown: Mapping[str, str]) -> Iterable[Change]:
    """Yield the planned changes that the host certainly makes, with the host's owner and mode."""
    for change in plan.files():
        node = found.written.get(change.real)
        if node is None or change.real in unknown or node.content != change.content:
            continue
        made = copy(change)
        made.uid, made.gid, made.mode = node.uid, node.gid, node.mode
        yield made


def check_image(metadata: Metadata, host: Host) -> None:
    """Raise HostError if the host refuses to import an image with this metadata."""
    if metadata.architecture not in ALL_NAMES:
        shown = f'"{metadata.architecture}"' if host.product == "lxd" else metadata.architecture
        raise HostError(
            f"{host.name} refuses to import the image: Architecture isn't supported: {printable(shown)}",
            metadata.spans.get("architecture"),
        )
    if not metadata.creation_date:
        raise HostError(
            f"{host.name} refuses to import the image: Missing creation date",
            metadata.spans.get("creation_date"),
        )


def check_links(folder: Folder, metadata: Metadata, host: Host) -> None:
    """Raise HostError if the host refuses to create an instance because a template is not a regular file."""
    if host.links_refused_at != "create":
        return
    names = {rule.template for rule in metadata.rules if rule.template and "/" not in rule.template}
    names -= {".", ".."}
    # An archive provides only the templates that rules name. A directory lists all of its templates.
    names |= set(getattr(folder.image, "template_names", tuple)())
    for name, file in sorted(folder.image.read_templates(names).items()):
        kind = file.entry.kind if file.entry is not None else "refused" if file.error is not None else ""
        if kind not in ("", FILE, DIRECTORY):
            raise HostError(
                f"{host.name} refuses to create the instance:"
                f" template '{printable(name)}' is not a regular file",
                hint="replace the template with a regular file",
            )


class StartError(TemplaterError):
    """The error for a failed start.

    ``cause`` is the error that makes the start fail. ``started`` describes the files written before the
    error.
    """

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
        if outcome is not None and outcome.result in FATAL:
            words = outcome.error or outcome.text
            yield HostError(f"{plan.host.name}: {words}", change.rule.spans.get("path"))


def failed_pass(plan: Plan) -> str:
    """Return the trigger of the first rule that fails, or "" if the start fails before any rule runs."""
    if plan.host_error:
        return ""
    for change in plan.changes:
        outcome = plan.outcome(change)
        if change.action == FAILED or (outcome is not None and outcome.result in FATAL):
            return change.trigger
    return ""


def start_error(host: Host, found: HostStart) -> TemplaterError:
    """Return the error of a start that fails or hangs on the host.

    If templater fails at the same rule, return templater's error, except for a failed system call.
    """
    change = found.failed
    # templater's error has a source position.
    if change is not None and change.error is not None and change.error.kind != "write":
        return change.error
    verb = "hangs" if found.hangs else "fails"
    span = None if change is None else change.rule.spans.get("path")
    return HostError(f"the start {verb} on {host.name}: {printable(found.error)}", span)
