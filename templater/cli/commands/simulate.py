"""``templater simulate``: predict the steps of an instance's life."""

from __future__ import annotations

from contextlib import ExitStack
from time import process_time
from typing import TYPE_CHECKING, Any

import click

from ...instances.description_file import read_source
from ...model.unprintable_characters import printable
from ...parsing.instance_description import read_profile
from ...rootfs.memory_rootfs import MemoryRootfs
from .. import completers, options, output, terminal
from ..enforce_limits import guarded

if TYPE_CHECKING:
    from rich.text import Text

    from ...simulation.step_report import Report

HELP = """Show what each step of an instance's life changes, and why.

Nothing is started and nothing is written. The steps behave as on the chosen host. After a failed start, the
simulation continues with the files that the failed start leaves. Random results are shown as unknown.

If SRC is an instance, or -i describes an existing instance, the simulation begins with the current state of
this instance. In all other cases, and if the first step is `create`, the simulation begins with a new
instance.

A step is [NAME:]VERB[=ARGUMENT]. Without NAME, the step applies to the first instance, even if an earlier
step has renamed this instance.

\b
  create   start   stop   restart   reboot   rebuild   rebuild=IMAGE
  copy=NAME   copy=NAME/SNAPSHOT   rename=NAME   export=NAME
  move=NAME   move=NAME,pool=POOL   move=NAME,project=PROJECT
  snapshot=NAME   restore=NAME
  publish=NAME   publish=NAME/SNAPSHOT   publish=NAME,KEY=VALUE
  c:KEY=VALUE          set a configuration key; c:KEY= unsets it
  c:KEY=@FILE          set a key to a file's content
  d:DEVICE,KEY=VALUE   set a key of a device; d:DEVICE= removes the device
  p:FILE               add or replace a profile; p:PROFILE= removes it

\b
Examples:
  templater simulate ./image create start c:user.foo=bar restart
  templater simulate ./image start copy=c2 c2:rename=c9 c9:start --diff
"""


@click.command(help=HELP)
@options.request_options(triggers="none")
@click.argument("steps", nargs=-1, required=True, metavar="STEP...", shell_complete=completers.steps)
@click.option("--diff", "as_diff", is_flag=True, help="Show changes as a patch.")
@guarded
def command(request: options.Request, steps: tuple[str, ...], as_diff: bool) -> int:
    from ...model.default_triggers import next_start
    from ...rootfs.directory_rootfs import limit_reading
    from ...simulation.parse_steps import parse_step
    from ...simulation.run_steps import simulate
    from ...simulation.simulated_instance import MemoryFolder
    from ...simulation.step_report import format_report, report_data
    from ...sources.open_source import open_source
    from ..open_and_plan import for_source, open_request, open_rootfs, render_options
    from ..plan_warnings import create_only_warning, rootfs_option

    begun = process_time()
    parsed = [parse_step(step, lambda file: read_source(file).text) for step in steps]
    limits = request.limits
    source, described = open_request(request)
    request = for_source(request, source)
    for note in (*source.notes, *described.notes):
        output.note(note)
    pending = None
    if parsed[0].verb != "create" and (source.is_instance or described.exists):
        begins = next_start(described, source.pending(described))
        pending = begins.passes[0] if len(begins.passes) > 1 else ""
        output.note(f"the simulation begins with '{printable(described.name)}' as it is now: {begins.reason}")
        for note in begins.notes:
            output.note(note)

    with ExitStack() as opened:
        opened.callback(source.close)

        def open_folder(path: str) -> MemoryFolder:
            other = open_source(path, limits.for_images())
            shipped = opened.enter_context(other.open_rootfs())
            limit_reading(shipped, limits.for_files())
            return MemoryFolder(other.image, _paper(shipped) or MemoryRootfs(), guessed=shipped is None)

        view = opened.enter_context(open_rootfs(request, source))
        limit_reading(view, limits.for_files())
        limits.seconds_read = process_time() - begun
        guessed: dict[str, None] = {}
        reports = simulate(
            source.image,
            described,
            parsed,
            render_options(request),
            rootfs=_paper(view),
            reading=limits.for_reading(),
            pending=pending,
            running=described.status in ("Running", "Frozen"),
            open_folder=open_folder,
            read_profile=lambda file: read_profile(read_source(file)),
            placeholders=bool(request.host.product),
            guessed=guessed,
        )
    advice = "if IMAGE in rebuild=IMAGE is a directory with a rootfs, templater knows which files exist"
    if view is None:
        advice = f"{rootfs_option(source, request)} shows which files exist"
    for text in create_only_warning(tuple(guessed), advice):
        output.note(text)
    terminal.page()
    if request.as_json:
        output.write_json([report_data(report) for report in reports])
    elif terminal.has_layout():
        show_styled(reports, as_diff=as_diff)
    else:
        output.write("".join(format_report(report, as_diff=as_diff) for report in reports))
    errors = [report.error for report in reports if report.error is not None]
    return errors[0].exit_code if errors else 0


def show_styled(reports: list[Report], *, as_diff: bool) -> None:
    from ...simulation.step_report import patch_of
    from ..patches import show_patch

    for number, report in enumerate(reports):
        above, below = styled_step(report, terminal.width(), as_diff=as_diff, first=number == 0)
        output.write_lines(above)
        if as_diff:
            show_patch(patch_of(report))
        output.write_lines(below)


def _paper(view: Any) -> MemoryRootfs | None:
    """Return an in-memory copy of the root filesystem, or None if there is no root filesystem."""
    from ...simulation.writable_copy import WritableCopy

    return view if view is None or isinstance(view, MemoryRootfs) else WritableCopy(view)


def styled_step(report: Report, width: int, *, as_diff: bool, first: bool) -> tuple[list[Text], list[Text]]:
    """Return the lines above the patch of a step of `simulate`, and the lines below the patch."""
    from rich.text import Text

    from ...reporting.plan_text import heading
    from ..styled import INDENT, Headings, message, remark, title, wrapped

    above = [] if first else [Text()]
    above.append(title(report.step.text))
    failed = report.error is not None
    above += wrapped(Text(printable(report.note), "red" if failed else ""), width, indent=INDENT, hanging=2)
    if not as_diff and report.shown:
        found = [heading(change) for change in report.shown]
        layout = Headings(found, width, rule=False)
        for each in found:
            above += layout.lines(each)
    below: list[Text] = []
    if report.started is not None:
        for text in report.started.remarks:
            below += remark(text, width, warns=False)
        for path, why in sorted(report.started.unknown.items()):
            below += remark(f"{path}: unknown: {why}", width, warns=True)
    if report.error is not None:
        more = report.error.explain().partition("\n")[2]  # the note already contains the first line
        below += message(more, width, indent=INDENT) if more else ()
    return above, below
