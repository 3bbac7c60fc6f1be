"""``templater watch``: preview again after every change."""

from __future__ import annotations

import os
from collections.abc import Callable

import click

from ...model.errors import TemplaterError, UsageError
from ...model.file_names import INSTANCE
from .. import options, output
from ..command_limits import fetched, guard
from ..page.options import PageOptions, page_options

HELP = """Preview and check SRC again after every change.

The command watches templates, metadata.yaml and the files that describe the instance. The first output shows
everything. After a change, the output shows only differences: files, findings of `templater check`, and with
--test each test that now fails, or that passes again. With ROOTFS, the output is a patch like that of
`templater diff`. If SRC is a running instance, templater follows the daemon's events, and shows the output of
`templater diff`. Stop the command with Ctrl-C.

With --web, a page in the browser shows the files, origins of values and findings instead. On the page, you
can edit keys of the instance, and compare hosts, instances and triggers. Only you can open the page, and only
on this machine.

\b
Examples:
  templater watch ./image -i web1.yaml
  templater watch ./image --test
  templater watch ./image --web --open
  templater watch ./image /srv/web1/rootfs -t start
  templater watch incus:web1
"""


@click.command(help=HELP)
@options.request_options(rootfs="[ROOTFS]")
@click.option(
    "--check/--no-check", "checked", default=True, help="Run `templater check`.  [default: --check]"
)
@click.option("--test", "tested", is_flag=True, help="Run the tests beside the image.")
@page_options
def command(request: options.Request, checked: bool, tested: bool, page: PageOptions | None) -> int:
    from ...live.address import is_live
    from ..file_watcher import Watch, sources_of
    from ..watch_output import WatchedImage

    live = is_live(request.src)
    if ":" in request.src and not live:
        with guard(request.limits):
            request = fetched(request)
    if page is not None:
        if live or tested or request.as_json:
            raise click.UsageError("--web can't be combined with a running instance, --test or --json")
        from ..page.server import serve_page

        return serve_page(request, page)
    if live:
        from ..live_watch import watch as watch_instance

        if tested:
            raise click.UsageError("--test can't be combined with a running instance")
        return watch_instance(request)
    files, folders = sources_of(options.existing(request.src))
    named = [*request.instance.files, *([] if request.rootfs is None else [request.rootfs])]
    image = WatchedImage(request, checked=checked, tested=tested)

    def missing() -> list[str]:
        return [path for path in named if path != "-" and not os.path.exists(path)]

    try:
        watched = [*files, os.path.join(request.src, INSTANCE), *named]
        with Watch(watched, [*folders, *image.test_folders()]) as watch:
            with watch.interruptible():
                attempt(image.look, missing, first=True)
            while True:
                names = watch.wait()
                output.say(f"changed: {', '.join(names)}")
                with watch.interruptible():
                    attempt(image.look, missing)
    except KeyboardInterrupt:
        return 0


def attempt(look: Callable[[], None], missing: Callable[[], list[str]], *, first: bool = False) -> None:
    """Run ``look`` once. Report its errors, but do not end the watch.

    At the ``first`` attempt, a usage error is raised, because no file change can correct it.
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
