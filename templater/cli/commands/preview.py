"""``templater preview``: the files that an image's templates would write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .. import options, output
from ..instances import instances_option

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...limits import Given
    from ...model.hosts import Host
    from ...model.plan import Plan
    from ...reporting.report import Block

HELP = """Show the files that SRC's templates would write.

Each comes with owner, mode and the reason. Nothing is written and no daemon is asked. The exit code is 5
if a template fails, or if the chosen host would fail where we would not.

\b
Examples:
  templater preview image.tar.xz                   `c1`, its first start
  templater preview ./image -i web1.yaml -t start  of `incus config show web1`
  templater preview ./image -i all.json#web1       of `incus list -f json`
  templater preview ./image --instances all.json   every instance of it
  templater preview ./image --as lxd             what LXD would make of it
  templater preview ./image --rootfs /srv/web1/rootfs
  templater preview ./image -o tree                into a folder, or FILE.tar
"""


@click.command(help=HELP)
@options.source_argument
@options.instance_options
@options.trigger_option()
@click.option("--rootfs", metavar="DIR", help="The root filesystem the files would land in.")
@click.option("-o", "--output", "target", metavar="DIR|FILE.tar", help="Write the rendered files there.")
@click.option("--reuse", is_flag=True, help="With -o FILE.tar: replace a file that exists.")
@instances_option
@options.host_options()
@options.limit_option()
@options.json_option
def command(
    src: str,
    instance: options.Description,
    triggers: tuple[str, ...],
    rootfs: str | None,
    target: str | None,
    reuse: bool,
    instances: str | None,
    host: Host,
    dialect: str | None,
    limits: Given,
    as_json: bool,
) -> int:
    from ..planning import open_rootfs, planned

    if instances is not None:
        from ..instances import run

        if target is not None:
            raise click.UsageError("-o and --instances don't go together")
        return run(
            src,
            instances,
            instance,
            show="json" if as_json else "summary",
            triggers=triggers,
            host=host,
            dialect=dialect,
            limits=limits,
            rootfs=rootfs,
        )
    if target is not None:
        from ..file_output import check_target

        check_target(target, reuse=reuse)
    with open_rootfs(rootfs) as view:
        found = planned(
            src, instance, triggers=triggers, rootfs=view, host=host, dialect=dialect, limits=limits
        )
    if target is not None:
        from ..file_output import write_tree

        write_tree(found, target)
    return show(found, as_json=as_json, contents=target is None)


def show(plan: Plan, *, as_json: bool = False, contents: bool = True) -> int:
    """Print a plan and give the exit code it deserves."""
    from ...reporting import report

    if as_json:
        output.write_json(report.plan_data(plan))
    elif contents:
        blocks = report.blocks(plan)
        if output.on_terminal():
            show_styled(blocks)
        else:
            show_plain(blocks)
    if not as_json:
        output.say(report.summary(plan))
        if other := report.not_due(plan):
            output.say(other)
    return report.verdict(plan)


def show_plain(blocks: Iterable[Block]) -> None:
    from ...reporting.report import plain

    for number, block in enumerate(blocks):
        output.write(("\n" if number else "") + plain(block))


def show_styled(blocks: Iterable[Block]) -> None:
    from ...reporting.report import ended, indented

    for number, block in enumerate(blocks):
        heading = click.style(f"==> {block.heading}", bold=True, fg="red" if block.failed else None)
        remarks = [click.style(f"    ! {remark}", fg="yellow") + "\n" for remark in block.remarks]
        output.write_styled("".join(["\n" if number else "", f"{heading}\n", *remarks]))
        if block.body is None:
            continue
        if block.failed:
            output.write_styled(click.style(output.visible(indented(block.body)), fg="red"))
        else:
            output.write_styled(output.coloured(output.visible(ended(block.body)), block.change.path))
