"""``templater apply``: write the files into a root filesystem."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ...model.errors import RefusedError
from ...model.unprintable_characters import printable
from .. import options, output
from ..enforce_limits import guarded, time_left

if TYPE_CHECKING:
    from ...model.plan import Plan

HELP = """Write SRC's rendered templates into ROOTFS, all or nothing.

ROOTFS is the root directory of a container; files outside it are never changed. If a template fails,
or a file can't be written safely, nothing is written. A file that already has the right content is
not touched and keeps its modification time.

If `.templater` exists beside ROOTFS or in SRC, templater records there which files it has written. If SRC
contains a root filesystem other than ROOTFS, the `.templater` in SRC is ignored. A `.templater` of another
user in a directory such as `/tmp` is ignored, too.

With `--keep-modified`, templater does not overwrite files that were changed by hand after templater wrote
them. Templater still writes all other files, and exits with 1 if it did not overwrite a file.

\b
Examples:
  templater apply image.tar.xz rootfs -t create,start  a first start
  templater apply ./image /srv/web1/rootfs -t start    a later start
"""


@click.command(help=HELP)
@options.request_options(rootfs="ROOTFS", triggers="required", host="none", parameters=False)
@click.option(
    "--as-agent", is_flag=True, help="Write the files of a virtual machine, as the agent in the guest does."
)
@click.option(
    "--cross-mounts",
    is_flag=True,
    help="Also write files at and below mount points. A mounted file is written in place.",
)
@click.option("--keep-modified", is_flag=True, help="Do not overwrite files that were changed by hand.")
@options.state_option
@guarded
def command(
    request: options.Request, as_agent: bool, cross_mounts: bool, keep_modified: bool, state: str | None
) -> None:
    from functools import partial
    from time import monotonic

    from ...rootfs.directory_rootfs import DirectoryRootfs
    from ...writing.apply_plan import apply
    from ..apply_and_record import apply_recorded
    from ..open_and_plan import opened

    with opened(request, cross_mounts=cross_mounts) as found:
        if found.source.definition is not None:
            raise RefusedError(
                f"can't apply definition '{printable(request.src)}': templater only predicts its image",
                hint="build the image, or make an image directory: templater new DIR --from FILE",
            )
        assert isinstance(found.rootfs, DirectoryRootfs)
        (plan,) = found.plans(in_place=cross_mounts, placeholders=False, for_patch=False)
        plan = for_rootfs(plan, as_agent=as_agent)
        in_time = partial(apply, deadline=monotonic() + time_left())
        kept, written = apply_recorded(found, plan, in_time, state, keep_modified=keep_modified)
    if request.as_json:
        from ...reporting.json_data import change_data

        output.write_json([change_data(change) for change in written])
    else:
        from ...reporting.plan_text import headline

        output.write("".join(f"{headline(change)}\n" for change in written))
    if kept:
        from ...instances.changed_by_hand import files_kept

        raise files_kept(kept)


def for_rootfs(plan: Plan, *, as_agent: bool) -> Plan:
    """Return the plan to write into the root filesystem.

    If the instance is a virtual machine, raise RefusedError unless ``as_agent`` is true. The host writes the
    files of a virtual machine to its config drive, not into its root filesystem.
    """
    if not plan.instance.is_vm:
        if as_agent:
            raise click.UsageError("--as-agent requires a virtual machine")
        return plan
    if not as_agent:
        raise RefusedError(
            f"'{plan.instance.name}' is a virtual machine: the host writes no files into the root filesystem"
            " of a virtual machine",
            hint="add --as-agent to write the files that the agent in the guest writes",
        )
    return plan.as_agent()
