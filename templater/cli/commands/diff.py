"""``templater diff``: show changes to a root filesystem as a patch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ...model.source import printable, printable_lines
from .. import options, output
from ..batch import instances_option
from ..guard import guarded

if TYPE_CHECKING:
    from ...model.plan import Plan

HELP = """Show what SRC's templates would change in ROOTFS.

The output is a unified patch, without unchanged files. Nothing is written.
The exit code is 5 if a template fails, or if the predicted host would fail where templater would not.

\b
Examples:
  templater diff image.tar.xz /srv/web1/rootfs -i web1.yaml
  templater diff ./image rootfs -t start --exit-code  1 if anything changes
  templater diff ./image 'all/{name}/rootfs' --instances all.json -t start
"""

STYLES: dict[str, dict[str, Any]] = {
    "+++": {"bold": True}, "---": {"bold": True}, "@@": {"fg": "cyan"}, "+": {"fg": "green"},
    "-": {"fg": "red"}, "#": {"dim": True}, "diff ": {"bold": True},
}  # fmt: skip


@click.command(help=HELP)
@options.request_options(rootfs="ROOTFS")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything would change.")
@instances_option
@guarded
def command(request: options.Request, exit_code: bool, instances: str | None) -> int:
    from ..planning import opened

    if instances is not None:
        from ..batch import run

        return run(request, instances, show="json" if request.as_json else "patch", exit_code=exit_code)
    with opened(request, rootfs_of_instance=True) as found:
        plans = found.plans()
    return show(plans, as_json=request.as_json) or int(exit_code and any(any(p.files()) for p in plans))


def show(plans: list[Plan], *, as_json: bool) -> int:
    """Print plans as patches or JSON, and return the exit code: 5 if a rule or the host fails."""
    from ...reporting import json_data, patch, report

    if as_json:
        data = [json_data.plan_data(plan) for plan in plans]
        output.write_json(data if len(data) > 1 else data[0])
    for plan in () if as_json else plans:
        if len(plans) > 1:
            show_patch(f"# trigger {plan.triggers[0]}\n")
        for text in patch.files(plan):
            show_patch(text)
        complain(plan)
    return max(map(report.verdict, plans))


def show_patch(text: str) -> None:
    if not output.on_terminal():
        output.write(text)
        return
    for line in text.removesuffix("\n").split("\n") if text else ():
        style = next((style for start, style in STYLES.items() if line.startswith(start)), {})
        shown = printable_lines(line)
        output.write_styled((click.style(shown, **style) if style else shown) + "\n")


def complain(plan: Plan) -> None:
    """Report failures and differences of the host on stderr, because a patch can't show them."""
    from ...model.plan import AGENT
    from ...reporting.report import differences, indented

    for change in (*plan.changes, *plan.agent):
        path = f"{'in the guest: ' if change.trigger == AGENT else ''}{printable(change.path)}"
        if change.error is not None:
            output.say(f"{path}: failed\n{indented(change.error.explain())}")
        for text in differences(plan, change):
            output.say(f"{path}: {text}")
    if plan.host_error and not plan.changes:
        output.say(f"{plan.host.name}: the start fails: {printable(plan.host_error)}")
