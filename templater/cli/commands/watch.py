"""``templater watch``: preview again whenever something changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from ...model.errors import TemplaterError, UsageError
from .. import options, output

if TYPE_CHECKING:
    from ...limits import Given
    from ...model.hosts import Host

HELP = """Preview SRC again at every change.

Templates, metadata.yaml and the instance's files are watched. With ROOTFS it is the patch that is shown
again, as `templater diff` prints it. Ends with Ctrl-C.

\b
Examples:
  templater watch ./image -i web1.yaml
  templater watch ./image /srv/web1/rootfs -t start
"""


@click.command(help=HELP)
@options.source_argument
@options.rootfs_argument(required=False)
@options.instance_options
@options.trigger_option()
@options.host_options()
@options.limit_option()
@options.json_option
def command(
    src: str,
    rootfs: str | None,
    instance: options.Description,
    triggers: tuple[str, ...],
    host: Host,
    dialect: str | None,
    limits: Given,
    as_json: bool,
) -> int:
    from ..watcher import Watch, sources_of

    def look() -> None:
        from ..planning import open_rootfs, planned

        with open_rootfs(rootfs) as view:
            plan = planned(
                src, instance, triggers=triggers, rootfs=view, host=host, dialect=dialect, limits=limits
            )
        if as_json:
            import json

            from ...reporting.report import plan_data

            output.write(json.dumps(plan_data(plan), ensure_ascii=False) + "\n")
        elif rootfs is None:
            from .preview import show

            show(plan)
        else:
            from ...reporting.patch import diff
            from .diff import complain, show_patch

            show_patch(diff(plan))
            complain(plan)

    files, folders = sources_of(options.existing(src))
    named = [*instance.files, *([] if rootfs is None else [rootfs])]

    def missing() -> list[str]:
        return [path for path in named if path != "-" and not os.path.exists(path)]

    try:
        with Watch([*files, os.path.join(src, "instance.yaml"), *named], folders) as watch:
            attempt(look, missing, first=True)
            while True:
                names = watch.wait()
                if output.on_terminal():
                    click.clear()
                output.say(f"changed: {', '.join(names)}")
                attempt(look, missing)
    except KeyboardInterrupt:
        return 0


def attempt(look: Callable[[], None], missing: Callable[[], list[str]], *, first: bool = False) -> None:
    """A mistake in a template is what one watches for: say it and go on.

    No change of a file makes a wrong command line right, so that is the end, if it is so at ``first``.
    """
    try:
        look()
    except TemplaterError as error:
        if first and isinstance(error, UsageError):
            raise
        output.say(error.explain())
        for path in missing():
            output.say(f"waiting for '{path}' to appear")
    output.flush()
