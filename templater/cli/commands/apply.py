"""``templater apply``: write the files into a root filesystem."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ...model.errors import RefusedError
from .. import options, output
from ..guard import guarded

if TYPE_CHECKING:
    from ...model.plan import Plan

HELP = """Write SRC's rendered templates into ROOTFS, all or nothing.

ROOTFS is the root of a container's file system; nothing outside it is ever touched. If one
template fails, or one file can't be written safely, nothing is written. A file that already has
its content is left alone, down to its modification time.

\b
Examples:
  templater apply image.tar.xz rootfs -t create,start  a first start
  templater apply ./image /srv/web1/rootfs -t start    any later one
"""


@click.command(help=HELP)
@options.request_options(rootfs="ROOTFS", triggers="required", host="none")
@click.option("--as-agent", is_flag=True, help="For a virtual machine: do what the agent does in the guest.")
@click.option(
    "--cross-mounts", is_flag=True, help="Write to mount points too: in place, without replacing the file."
)
@guarded
def command(request: options.Request, as_agent: bool, cross_mounts: bool) -> int:
    from ...rootfs.directory import DirectoryRootfs
    from ...writing.transaction import apply
    from ..planning import opened

    with opened(request, cross_mounts=cross_mounts) as found:
        (plan,) = found.plans(in_place=cross_mounts, placeholders=False)
        plan = for_rootfs(plan, as_agent=as_agent)
        assert isinstance(found.rootfs, DirectoryRootfs)
        written = apply(plan, found.rootfs)
    if request.as_json:
        from ...reporting.json_data import change_data

        output.write_json([change_data(change) for change in written])
    else:
        from ...reporting.report import headline

        output.write("".join(f"{headline(change)}\n" for change in written))
    return 0


def for_rootfs(plan: Plan, *, as_agent: bool) -> Plan:
    """The plan that may be written: a virtual machine's files belong on its config drive."""
    if not plan.instance.is_vm:
        if as_agent:
            raise click.UsageError("--as-agent is for virtual machines")
        return plan
    if not as_agent:
        raise RefusedError(
            f"'{plan.instance.name}' is a virtual machine: its host writes no file into its root filesystem",
            hint="--as-agent does what the agent in the guest would do",
        )
    return plan.as_agent()
