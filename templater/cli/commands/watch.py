"""``templater watch``: preview again after every change."""

from __future__ import annotations

import os
from collections.abc import Callable

import click

from ...model.errors import TemplaterError, UsageError
from ...model.file_names import INSTANCE
from .. import options, output
from ..guard import guard

HELP = """Preview SRC again after every change.

Templates, metadata.yaml and the instance's files are watched. With ROOTFS, the output is a patch like that of
`templater diff`. If SRC is a running instance, the daemon's events are followed, and the output is that of
`templater diff`. Stop with Ctrl-C.

\b
Examples:
  templater watch ./image -i web1.yaml
  templater watch ./image /srv/web1/rootfs -t start
  templater watch incus:web1
"""


@click.command(help=HELP)
@options.request_options(rootfs="[ROOTFS]")
def command(request: options.Request) -> int:
    from ...live.address import is_live
    from ..watcher import Watch, sources_of

    if is_live(request.src):
        from ..live_watch import watch as watch_instance

        return watch_instance(request)

    def look() -> None:
        from ..planning import opened

        with guard(request.limits), opened(request, rootfs_of_instance=request.rootfs is not None) as found:
            plans = found.plans()
        if request.as_json:
            import json

            from ...reporting.json_data import plan_data, safe_json

            for plan in plans:
                output.write(safe_json(json.dumps(plan_data(plan), ensure_ascii=False)) + "\n")
        elif request.rootfs is None:
            from .preview import show

            show(plans)
        else:
            from . import diff

            diff.show(plans, as_json=False)

    files, folders = sources_of(options.existing(request.src))
    named = [*request.instance.files, *([] if request.rootfs is None else [request.rootfs])]

    def missing() -> list[str]:
        return [path for path in named if path != "-" and not os.path.exists(path)]

    try:
        with Watch([*files, os.path.join(request.src, INSTANCE), *named], folders) as watch:
            with watch.interruptible():
                attempt(look, missing, first=True)
            while True:
                names = watch.wait()
                if output.has_layout():
                    click.clear()
                output.say(f"changed: {', '.join(names)}")
                with watch.interruptible():
                    attempt(look, missing)
    except KeyboardInterrupt:
        return 0


def attempt(look: Callable[[], None], missing: Callable[[], list[str]], *, first: bool = False) -> None:
    """Run ``look`` once, and report its errors without ending the watch.

    At the ``first`` attempt a usage error is raised, because no change of a file can correct it.
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
