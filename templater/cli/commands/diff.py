"""``templater diff``: show changes to a root filesystem as a patch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ...model.unprintable_characters import printable
from .. import options, output, terminal
from ..against_options import NAMES, OtherSide, other_side_options
from ..batch_output import instances_option
from ..enforce_limits import guarded
from ..html_report import Target, html_options, report_comparison, report_plans
from ..patches import show_patch, show_patches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...cloud_init.next_boot import Verdict
    from ...model.plan import Plan

HELP = """Show how files would change in ROOTFS, or with other settings.

With ROOTFS, the output is a unified patch of the root filesystem, without unchanged files. Without ROOTFS,
one option chooses another configuration, image or host, and the output shows how the rendered files would
differ. If SRC is a running instance such as `incus:web1`, the output shows what its next start does with
each file. Nothing is written. The exit code is 5 if a template fails, or if the start would fail on the
predicted host.

\b
Examples:
  templater diff image.tar.xz /srv/web1/rootfs -i web1.yaml
  templater diff ./image rootfs -t start --exit-code  1 if anything changes
  templater diff ./image 'all/{name}/rootfs' --instances all.json -t start
  templater diff ./image -i web1.yaml --set user.role=db --unset user.x
  templater diff old.tar.xz -i web1.yaml --against-image new.tar.xz
"""


@click.command(help=HELP)
@options.request_options(rootfs="[ROOTFS]")
@click.argument("filters", nargs=-1, metavar="[FILTER]...")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything would change.")
@instances_option
@other_side_options
@html_options
@guarded
def command(
    request: options.Request,
    filters: tuple[str, ...],
    exit_code: bool,
    instances: str | None,
    other: OtherSide,
    html: Target | None,
) -> int:
    from ...cloud_init.next_boot import next_boot
    from ...live.address import is_live
    from ..open_and_plan import opened

    if is_live(request.src) and not other.given:
        from .. import live_diff

        if html is not None:
            raise click.UsageError("--html can't be combined with a running instance")
        live_diff.refuse_options(request, instances)
        words = () if request.rootfs is None else (request.rootfs, *filters)
        return live_diff.run(request._replace(rootfs=None), words, exit_code=exit_code)
    if filters:
        raise click.UsageError(f"unexpected argument '{printable(filters[0])}'")
    if html is not None:
        return write_html(request, other, instances, html, exit_code=exit_code)
    if other.given:
        other.check(request, instances)
        from ..open_and_plan import fixed_options

        with opened(request._replace(rootfs="none")) as found:
            fixed = fixed_options(found.request).begun()
            sides = [(before, after) for before, after in other.plans(found, fixed)]
        terminal.page()
        return show_comparison(sides, as_json=request.as_json, exit_code=exit_code)
    if request.rootfs is None:
        raise click.UsageError(f"give ROOTFS, or one of {', '.join(NAMES)}")
    if instances is not None:
        from ..batch_output import run

        return run(request, instances, show="json" if request.as_json else "patch", exit_code=exit_code)
    with opened(request, rootfs_of_instance=True) as found:
        plans = found.plans()
        verdicts = [next_boot(plan, found.rootfs) for plan in plans]
    terminal.page()
    return show(plans, verdicts, as_json=request.as_json) or int(
        exit_code and any(any(p.files()) for p in plans)
    )


def write_html(
    request: options.Request, other: OtherSide, instances: str | None, target: Target, *, exit_code: bool
) -> int:
    """Write the report of `diff` and return the exit code."""
    from ...model.plan import Plan
    from ...reporting.comparison import compare_plans, differing
    from ..open_and_plan import opened

    if instances is not None:
        raise click.UsageError("diff --html can't be combined with --instances")
    if other.given:
        other.check(request, instances)
        with opened(request._replace(rootfs="none")) as found:
            view = report_comparison(found, other, target)
        plans = [column.plan for column in view.columns if isinstance(column.plan, Plan)]
        half = len(plans) // 2
        pairs = zip(plans[:half], plans[half:], strict=True)
        changed = any(differing(compare_plans(before, after)) for before, after in pairs)
        return view.code or int(exit_code and changed)
    if request.rootfs is None:
        raise click.UsageError("diff --html needs ROOTFS, or an option such as --set for the comparison")
    with opened(request, rootfs_of_instance=True) as found:
        (view,) = report_plans(found, target, compares=True)
    plans = [column.plan for column in view.columns if isinstance(column.plan, Plan)]
    return view.code or int(exit_code and any(any(plan.files()) for plan in plans))


def show_comparison(sides: list[tuple[Plan, Plan]], *, as_json: bool, exit_code: bool) -> int:
    """Print how the files of each pair of plans differ, and return the exit code."""
    from ...reporting import comparison, plan_text

    compared = [(before, after, comparison.compare_plans(before, after)) for before, after in sides]
    if as_json:
        data = [comparison.comparison_data(*each) for each in compared]
        output.write_json(data if len(data) > 1 else data[0])
    for before, after, files in () if as_json else compared:
        if len(sides) > 1:
            show_patch(f"# trigger {before.triggers[0]}\n")
        show_patches(comparison.patch_of(files))
        old, new = dict.fromkeys(complaints(before)), dict.fromkeys(complaints(after))
        for text in {**old, **new}:
            output.say(
                text if text in old and text in new else f"{'before' if text in old else 'after'}: {text}"
            )
        output.say(comparison.summary(before, files))
    code = max(plan_text.verdict(plan) for pair in sides for plan in pair)
    return code or int(exit_code and any(comparison.differing(files) for *_, files in compared))


def show(plans: list[Plan], verdicts: Sequence[Verdict | None], *, as_json: bool) -> int:
    """Print plans as patches or JSON, and return the exit code.

    The code is 5 if a rule fails in templater or on the host.

    ``verdicts`` has one item for each plan: the prediction of cloud-init's next boot.
    """
    from ...cloud_init.next_boot_report import lines_of, verdict_data
    from ...reporting import json_data, patch, plan_text

    if as_json:
        data = [json_data.plan_data(plan) for plan in plans]
        for each, verdict in zip(data, verdicts, strict=True):
            if verdict is not None:
                each["cloud_init"] = verdict_data(verdict)
        output.write_json(data if len(data) > 1 else data[0])
    for plan, verdict in () if as_json else zip(plans, verdicts, strict=True):
        if len(plans) > 1:
            show_patch(f"# trigger {plan.triggers[0]}\n")
        show_patches(patch.files(plan))
        for text in (*complaints(plan), *(() if verdict is None else lines_of(verdict))):
            output.say(text)
    return max(map(plan_text.verdict, plans))


def complaints(plan: Plan) -> Iterator[str]:
    """Yield facts that a patch can't show: failures, and differences between the host and templater."""
    from ...model.plan import AGENT
    from ...reporting.plan_text import differences, host_error_text, indented

    for change in (*plan.changes, *plan.agent):
        path = f"{'in the guest: ' if change.trigger == AGENT else ''}{printable(change.path)}"
        if change.error is not None:
            yield f"{path}: failed\n{indented(change.error.explain())}"
        for text in differences(plan, change):
            yield f"{path}: {text}"
    if plan.host_error and not plan.changes:
        yield host_error_text(plan)
