"""``templater status``: show changes by hand to an instance's files, and the changes of the next start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ...model.errors import RefusedError, UsageError
from .. import options, output
from ..enforce_limits import guarded

if TYPE_CHECKING:
    from ...instances.changed_by_hand import FileStatus

HELP = """Show which files of an instance were changed or would change.

DIR is an instance directory of a hook. For each file, the table answers two independent questions. Was
the file changed by hand since templater wrote it? Would the next start change it? The first answer comes
from the record in DIR/.templater, the second from a plan of the next start. Nothing is written. The exit
code is 5 if a template fails.

\b
Examples:
  templater status /var/lib/lxc/web1
  templater status ./web1 --exit-code      1 if a file was or would be changed
  templater status ./web1 -c user.role=db  as if this key were set
"""


@click.command(help=HELP)
@options.request_options(host="none", parameters=False, source="DIR")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if a file has changed or would change.")
@options.state_option
@guarded
def command(request: options.Request, exit_code: bool, state: str | None) -> int:
    from ...instances.changed_by_hand import status_of
    from ...reporting.plan_text import verdict
    from ...reporting.status_table import columns_of, file_data, summary
    from ..apply_and_record import opened_record, state_folder
    from ..open_and_plan import opened

    with opened(request, rootfs_of_instance=True) as found:
        if found.rootfs is None:
            raise UsageError(
                "status needs the root filesystem of an instance",
                hint="give the root filesystem with --rootfs DIR",
            )
        if len(found.runs) > 1:
            raise UsageError("status shows only one start, so -t all can't be used")
        folder = state or state_folder(request.src, found.source.rootfs_path or request.rootfs)
        if found.instance.is_vm:
            raise RefusedError(f"'{found.instance.name}' is a virtual machine: hooks are for containers")
        (plan,) = found.plans(placeholders=False, for_patch=False)
        with opened_record(folder) as record:
            if record is None:
                output.note("no record of written files: this instance was never started with templater")
            else:
                record.require_readable()
                record.settle(found.rootfs, save=False)
            recorded = record.files() if record is not None else {}
            names = {file.template for file in recorded.values()}
            templates = found.source.image.read_templates(names)
            files = status_of(plan, recorded, found.rootfs, templates)
    if request.as_json:
        data: dict[str, Any] = {"instance": plan.instance.name, "triggers": list(plan.triggers)}
        output.write_json(data | {"files": [file_data(file) for file in files]})
    else:
        output.write("".join(f"{line}\n" for line in columns_of(files)))
        output.say(summary(files))
    return verdict(plan) or int(exit_code and any(map(differs, files)))


def differs(file: FileStatus) -> bool:
    return bool(file.by_hand or file.would_change)
