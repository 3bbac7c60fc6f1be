"""``templater diff``: what would change in a root filesystem, as a patch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ...model.source import printable
from .. import options, output
from ..instances import instances_option

if TYPE_CHECKING:
    from ...limits import Given
    from ...model.hosts import Host
    from ...model.plan import Plan

HELP = """Show what SRC's templates would change in ROOTFS.

The output is a unified patch. Nothing is written. Files that would stay as they are do not appear.

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
@options.source_argument
@options.rootfs_argument()
@options.instance_options
@options.trigger_option()
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything would change.")
@instances_option
@options.host_options()
@options.limit_option()
@options.json_option
def command(
    src: str,
    rootfs: str,
    instance: options.Description,
    triggers: tuple[str, ...],
    exit_code: bool,
    instances: str | None,
    host: Host,
    dialect: str | None,
    limits: Given,
    as_json: bool,
) -> int:
    from ...reporting.patch import diff
    from ..planning import open_rootfs, planned

    if instances is not None:
        from ..instances import run

        return run(
            src,
            instances,
            instance,
            show="json" if as_json else "patch",
            triggers=triggers,
            host=host,
            dialect=dialect,
            limits=limits,
            rootfs=rootfs,
        )

    with open_rootfs(rootfs) as view:
        plan = planned(
            src, instance, triggers=triggers, rootfs=view, host=host, dialect=dialect, limits=limits
        )
    if as_json:
        from ...reporting.report import plan_data

        output.write_json(plan_data(plan))
    else:
        show_patch(diff(plan))
        complain(plan)
    if plan.failed:
        return 5
    return int(exit_code and any(True for _ in plan.files()))


def show_patch(text: str) -> None:
    if not output.on_terminal():
        output.write(text)
        return
    for line in text.removesuffix("\n").split("\n") if text else ():
        style = next((style for start, style in STYLES.items() if line.startswith(start)), {})
        shown = output.visible(line)
        output.write_styled((click.style(shown, **style) if style else shown) + "\n")


def complain(plan: Plan) -> None:
    """Say what failed on stderr: a patch has no place for it."""
    from ...model.plan import AGENT
    from ...reporting.report import indented

    for change in plan.failed:
        if change.error is not None:
            where = "in the guest: " if change.trigger == AGENT else ""
            output.say(f"{where}{printable(change.path)}: failed\n{indented(change.error.explain())}")
