"""``templater simulate``: an instance's life on paper, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .. import options, output

if TYPE_CHECKING:
    from ...limits import Given
    from ...model.hosts import Host
    from ...simulation.simulate import Report

HELP = """Show what each step of an instance's life changes, and why.

Nothing is started and nothing is written. The instance is created first, whatever the steps are.
A step is [NAME:]VERB[=ARGUMENT]; without a name it is about the instance that was created first,
whatever it is called by now.

\b
  create   start   stop   restart   reboot   rebuild
  copy=NAME   copy=NAME/SNAPSHOT   rename=NAME   export=NAME
  snapshot=NAME   restore=NAME   publish=NAME   publish=NAME/SNAPSHOT
  c:KEY=VALUE        a configuration key of the instance

\b
Examples:
  templater simulate ./image create start c:user.foo=bar restart
  templater simulate ./image start copy=c2 c2:rename=c9 c9:start --diff
"""


@click.command(help=HELP)
@options.source_argument
@click.argument("steps", nargs=-1, required=True, metavar="STEP...")
@click.option("--rootfs", metavar="DIR", help="What the root file system holds at first; it is only read.")
@click.option("--diff", "as_diff", is_flag=True, help="What changes as a patch.")
@options.instance_options
@options.host_options()
@options.limit_option()
@options.json_option
def command(
    src: str,
    steps: tuple[str, ...],
    rootfs: str | None,
    as_diff: bool,
    instance: options.Description,
    host: Host,
    dialect: str | None,
    limits: Given,
    as_json: bool,
) -> int:
    from ...image.open import open_image
    from ...model.options import RenderOptions
    from ...simulation.disk_snapshot import Paper
    from ...simulation.simulate import parse_step, simulate
    from ..planning import open_rootfs, rendering

    parsed = [parse_step(step) for step in steps]
    described = instance.read()
    for note in described.notes:
        output.say(f"note: {note}")
    with open_rootfs(rootfs) as view:
        reports = simulate(
            open_image(src, limits.for_images()),
            described,
            parsed,
            RenderOptions(host, dialect or "", limits=rendering(limits)),
            rootfs=None if view is None else Paper(view),
            reading=limits.for_reading(),
        )
    if as_json:
        output.write_json([report_data(report) for report in reports])
    else:
        output.write("".join(text_of(report, as_diff=as_diff) for report in reports))
    errors = [report.error for report in reports if report.error is not None]
    return errors[0].exit_code if errors else 0


def text_of(report: Report, *, as_diff: bool) -> str:
    from ...reporting.patch import diff
    from ...reporting.report import headline

    lines = [f"{report.step.text}\n  {output.visible(report.note)}\n"]
    if as_diff and report.plan is not None and report.error is None:
        lines.append(diff(report.plan))
    elif report.plan is not None:
        written = {id(change) for change in report.changes}
        for change in report.plan.changes:
            if id(change) in written or change.error is not None:
                lines.append(f"  {headline(change)}\n")
    if report.error is not None:
        more = report.error.explain().split("\n")[1:]  # the first line is the note's
        lines += [f"  {output.visible(line)}\n" for line in more]
    return "".join(lines)


def report_data(report: Report) -> dict[str, Any]:
    from ...reporting.report import change_data, error_data

    return {
        "step": report.step.text,
        "instance": report.name,
        "pending": report.pending,
        "triggers": list(report.plan.triggers) if report.plan is not None else [],
        "changes": [change_data(change) for change in report.changes],
        "error": None if report.error is None else error_data(report.error),
    }
