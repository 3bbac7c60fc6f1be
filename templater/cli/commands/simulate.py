"""``templater simulate``: predict the steps of an instance's life."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from ...instances.description_file import read_source
from ...model.source import printable
from ...parsing.instance_yaml import read_profile
from ...rootfs.memory import MemoryRootfs
from .. import options, output
from ..guard import guarded

if TYPE_CHECKING:
    from ...simulation.simulate import Report

HELP = """Show what each step of an instance's life changes, and why.

Nothing is started and nothing is written. If SRC is an image, the instance is created first. If SRC is an
instance, or -i describes an existing one, the simulation begins with its current state; `create` as the
first step makes a new instance instead. The steps behave as on the chosen host. After a failed start, the
simulation continues with the files that this host leaves. Random results are shown as unknown.

A step is [NAME:]VERB[=ARGUMENT]. Without NAME it applies to the first instance, even after a rename.

\b
  create   start   stop   restart   reboot   rebuild   rebuild=IMAGE
  copy=NAME   copy=NAME/SNAPSHOT   rename=NAME   export=NAME
  move=NAME   move=NAME,pool=POOL   move=NAME,project=PROJECT
  snapshot=NAME   restore=NAME
  publish=NAME   publish=NAME/SNAPSHOT   publish=NAME,KEY=VALUE
  c:KEY=VALUE          set a configuration key; c:KEY= unsets it
  c:KEY=@FILE          set it to a file's content
  d:DEVICE,KEY=VALUE   set a key of a device; d:DEVICE= removes the device
  p:FILE               add or replace a profile; p:PROFILE= removes it

\b
Examples:
  templater simulate ./image create start c:user.foo=bar restart
  templater simulate ./image start copy=c2 c2:rename=c9 c9:start --diff
"""


@click.command(help=HELP)
@options.request_options(triggers="none")
@click.argument("steps", nargs=-1, required=True, metavar="STEP...")
@click.option("--diff", "as_diff", is_flag=True, help="Show changes as a patch.")
@guarded
def command(request: options.Request, steps: tuple[str, ...], as_diff: bool) -> int:
    from ...model.triggers import next_start
    from ...simulation.simulate import PaperFolder, simulate
    from ...simulation.steps import parse_step
    from ...sources.open_source import open_source
    from ..planning import open_rootfs, render_options

    parsed = [parse_step(step, lambda file: read_source(file).text) for step in steps]
    limits = request.limits
    source = open_source(request.src, limits.for_images())
    described = request.instance.read(source)
    for note in (*source.notes, *described.notes):
        output.note(note)
    pending = None
    if parsed[0].verb != "create" and (source.is_instance or described.exists):
        begins = next_start(described, source.pending(described))
        pending = begins.passes[0] if len(begins.passes) > 1 else ""
        output.note(f"the simulation begins with '{printable(described.name)}' as it is: {begins.reason}")
        for note in begins.notes:
            output.note(note)

    with ExitStack() as opened:

        def open_folder(path: str) -> PaperFolder:
            other = open_source(path, limits.for_images())
            shipped = opened.enter_context(other.open_rootfs())
            return PaperFolder(other.image, _paper(shipped) or MemoryRootfs())

        view = opened.enter_context(open_rootfs(request, source))
        reports = simulate(
            source.image,
            described,
            parsed,
            render_options(request),
            rootfs=_paper(view),
            reading=limits.for_reading(),
            pending=pending,
            running=described.status in ("Running", "Frozen"),
            open_folder=open_folder,
            read_profile=lambda file: read_profile(read_source(file)),
            placeholders=bool(request.host.product),
        )
    if request.as_json:
        output.write_json([report_data(report) for report in reports])
    else:
        output.write("".join(text_of(report, as_diff=as_diff) for report in reports))
    errors = [report.error for report in reports if report.error is not None]
    return errors[0].exit_code if errors else 0


def _paper(view: Any) -> MemoryRootfs | None:
    """Return an in-memory root filesystem to which the simulation can write."""
    from ...simulation.disk_snapshot import Paper

    return view if view is None or isinstance(view, MemoryRootfs) else Paper(view)


def text_of(report: Report, *, as_diff: bool) -> str:
    from ...model.plan import Plan
    from ...reporting.patch import diff
    from ...reporting.report import headline

    lines = [f"{report.step.text}\n  {output.visible(report.note)}\n"]
    started = report.started
    if started is not None:
        plan = started.plan
        failed = [change for change in plan.changes if change.error is not None]
        if as_diff:
            made = Plan(plan.metadata, plan.instance, plan.host, plan.triggers, started.changes)
            lines.append(diff(made))
        else:
            lines += [f"  {headline(change)}\n" for change in (*started.changes, *failed)]
        lines += [f"  ! {output.visible(remark)}\n" for remark in started.remarks]
        lines += [
            f"  ? {printable(path)}: unknown: {output.visible(reason)}\n"
            for path, reason in sorted(started.unknown.items())
        ]
    if report.error is not None:
        more = report.error.explain().split("\n")[1:]  # the note shows the first line
        lines += [f"  {output.visible(line)}\n" for line in more]
    return "".join(lines)


def report_data(report: Report) -> dict[str, Any]:
    from ...reporting.json_data import change_data, error_data

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
