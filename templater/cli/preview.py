"""``templater preview``: the files that an image's templates would write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from . import options, output
from .fleet import fleet_options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..changes import Plan
    from ..hosts import Host
    from ..limits import Given
    from ..report import Block

HELP = """Show the files that SRC's templates would write.

Each comes with owner, mode and the reason. Nothing is written and no daemon is asked. The exit code is 5
if a template fails, or if the chosen host would fail where we would not.

\b
Examples:
  templater preview image.tar.xz                        a container `c1`, its first start
  templater preview ./image -i web1.yaml -t start       the instance of `incus config show web1`
  templater preview ./image -i fleet.json#web1          one of `incus list -f json`
  templater preview ./image -c user.foo=bar --host lxd  what LXD would make of it
  templater preview ./image --rootfs /srv/web1/rootfs   against a root filesystem
  templater preview ./image -o tree                     written to a new folder, or to FILE.tar
  templater preview ./image --instances all.json        every instance of `incus list -f json`
"""


@click.command(help=HELP)
@options.source_argument
@options.instance_options
@options.trigger_option()
@click.option("--rootfs", metavar="DIR", help="The root filesystem the files would land in.")
@click.option("-o", "--output", "target", metavar="DIR|FILE.tar", help="Write the rendered files there.")
@fleet_options
@options.host_options()
@options.limit_option()
@options.json_option
def command(
    src: str,
    instance: options.Description,
    triggers: tuple[str, ...],
    rootfs: str | None,
    target: str | None,
    instances: str | None,
    jobs: int | None,
    host: Host,
    dialect: str | None,
    limits: Given,
    as_json: bool,
) -> int:
    from .planning import open_rootfs, planned

    if instances is not None:
        from .fleet import run

        if target is not None:
            raise click.UsageError("-o and --instances don't go together")
        return run(
            src,
            instances,
            instance,
            jobs=jobs,
            show="json" if as_json else "summary",
            triggers=triggers,
            host=host,
            dialect=dialect,
            limits=limits,
            rootfs=rootfs,
        )
    with open_rootfs(rootfs) as view:
        found = planned(
            src, instance, triggers=triggers, rootfs=view, host=host, dialect=dialect, limits=limits
        )
    if target is not None:
        from .tree import write_tree

        write_tree(found, target)
    return show(found, as_json=as_json, contents=target is None)


def show(plan: Plan, *, as_json: bool = False, contents: bool = True) -> int:
    """Print a plan and give the exit code it deserves."""
    from .. import report

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
    return report.verdict(plan)


def show_plain(blocks: Iterable[Block]) -> None:
    from ..report import plain

    for number, block in enumerate(blocks):
        output.write(("\n" if number else "") + plain(block))


def show_styled(blocks: Iterable[Block]) -> None:
    from rich.syntax import Syntax
    from rich.text import Text

    from ..report import indented

    console = output.console()
    for number, block in enumerate(blocks):
        if number:
            console.print()
        console.print(Text(f"==> {block.heading}", style="bold red" if block.failed else "bold"))
        for remark in block.remarks:
            console.print(Text(f"    ! {remark}", style="yellow"))
        if block.body is None:
            continue
        body = output.visible(block.body)
        if block.failed:
            console.print(Text(indented(body), style="red"), end="")
        else:
            language = output.language_of(block.change.path)
            console.print(Syntax(body, language, background_color="default", word_wrap=True))
