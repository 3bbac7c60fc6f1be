"""``templater preview``: show the files that an image's templates would write."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from ...definitions.choice import VM
from ...model.errors import UsageError
from ...model.hosts import HOSTS
from ...model.instance import CONTAINER, VIRTUAL_MACHINE
from ...model.unprintable_characters import printable
from .. import completers, options, output, terminal
from ..batch_output import instances_option
from ..enforce_limits import guarded
from ..html_report import html_options
from ..preview_output import show, show_every_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...definitions.choice import Choice
    from ...limit_option import Given
    from ..html_report import Target

HELP = """Show the files that SRC's templates would write.

Each file is shown with its owner, its mode, and the reason why it is written or skipped. Nothing is written,
and no daemon is needed. The exit code is 5 if a template fails, or if the start would fail on the predicted
host.

\b
Examples:
  templater preview image.tar.xz                   a new container `c1`
  templater preview ./image -i web1.yaml -t next   `incus config show -e web1`
  templater preview ./image -i all.json#web1       one of `incus list -f json`
  templater preview ./image --instances all.json   each instance of a list
  templater preview ./image --as lxd               what LXD would do
  templater preview ./image --as all               each file, each host
  templater preview ./image --rootfs /srv/web1/rootfs
  templater preview ./image --tree                 only the list of files
  templater preview ./image -o tree                write DIR or FILE.tar
"""


@click.command(help=HELP)
@options.request_options(every_host=True, parameters=False)
@click.option(
    "-o", "--output", "outputs", metavar="DIR|FILE.tar", multiple=True, shell_complete=completers.files,
    help="Write the rendered files to DIR or FILE.tar. If SRC is a definition, -o KEY=VALUE sets a field of"
    " the definition.",
)  # fmt: skip
@click.option("--reuse", is_flag=True, help="With -o FILE.tar: replace an existing file.")
@click.option("--tree", is_flag=True, help="Show only a tree of the files.")
@click.option(
    "--all-variants",
    is_flag=True,
    help="If SRC is a definition: show one build for each combination of release, architecture, variant and"
    " type in its filters.",
)
@instances_option
@html_options
@guarded
def command(
    request: options.Request,
    outputs: tuple[str, ...],
    reuse: bool,
    tree: bool,
    all_variants: bool,
    instances: str | None,
    html: Target | None,
) -> int:
    from ..open_and_plan import opened

    if tree and (request.as_json or request.every_host or instances or all_variants):
        raise click.UsageError(
            "--tree can't be combined with --json, --as all, --instances or --all-variants"
        )

    target, parameters = split_outputs(outputs)
    request = request._replace(choice=request.choice._replace(parameters=parameters))
    if html is not None:
        if tree or all_variants or target:
            raise click.UsageError("--html can't be combined with --tree, --all-variants or -o DIR")
        return report(request, html, instances)
    if all_variants:
        if request.every_host or instances or target:
            raise click.UsageError("--all-variants can't be combined with --as all, --instances or -o DIR")
        return show_variants(request)
    if request.every_host and (instances or target or request.dialect or request.triggers == ("all",)):
        raise click.UsageError("--as all can't be combined with --instances, -o, --dialect or -t all")
    if instances is not None:
        from ..batch_output import run

        if target is not None:
            raise click.UsageError("-o can't be combined with --instances")
        return run(request, instances, show="json" if request.as_json else "summary")
    if target is not None:
        from ..preview_to_file import check_target

        check_target(target, reuse=reuse)
        if request.triggers == ("all",):
            raise click.UsageError("-o can't be combined with -t all: several triggers write the same files")
    with opened(request) as found:
        if request.every_host:
            return show_every_host(found)
        plans = found.plans()
    terminal.page()
    if target is not None:
        from ..preview_to_file import write_tree

        write_tree(plans[0], target)
    return show(plans, as_json=request.as_json, contents=target is None or tree, tree=tree)


def report(request: options.Request, html: Target, instances: str | None) -> int:
    """Write the report of one instance, or of each instance of a list. Return the exit code."""
    from ..html_report import report_plans
    from ..open_and_plan import opened

    hosts = [host for host in HOSTS.values() if host.family] if request.every_host else []
    with opened(request) as found:
        if instances is None:
            return max(view.code for view in report_plans(found, html, hosts=hosts))
        from ..enforce_limits import listed_instances

        with options.open_binary(instances) as stream:
            listed = listed_instances(stream.read, "<stdin>" if instances == "-" else instances)
            views = report_plans(found, html, instances=listed, hosts=hosts)
            return max((view.code for view in views), default=0)


#: a parameter of a definition: the path of a field, and its value
PARAMETER = r"(?s)[a-z_]+(\.[a-z0-9_]+)+=.*"


def split_outputs(values: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """Return DIR of ``-o DIR`` (or None), and the parameters of ``-o KEY=VALUE``."""
    parameters = tuple(value for value in values if re.fullmatch(PARAMETER, value))
    targets = [value for value in values if value not in parameters]
    if len(targets) > 1:
        raise click.UsageError(f"-o names two outputs: {', '.join(map(printable, targets))}")
    return next(iter(targets), None), parameters


def show_variants(request: options.Request) -> int:
    """Print the plans of every build of a definition, and return the highest exit code."""
    from ...reporting.json_data import plan_data
    from ...reporting.plan_text import verdict
    from ..open_and_plan import opened

    code, data = 0, []
    for choice in builds(request.src, request.choice, request.limits):
        kind = VIRTUAL_MACHINE if choice.type == VM else CONTAINER
        instance = request.instance._replace(type=kind)
        with opened(request._replace(choice=choice, instance=instance)) as found:
            assert found.source.definition is not None
            label, plans = found.source.definition.label, found.plans()
        if request.as_json:
            data += [{"build": label, **plan_data(plan)} for plan in plans]
            code = max(code, *map(verdict, plans))
        else:
            output.write(f"### {label}\n")
            code = max(code, show(plans))
    if request.as_json:
        output.write_json(data)
    return code


def builds(path: str, choice: Choice, limits: Given) -> Iterator[Choice]:
    """Yield a ``Choice`` for each build of a definition.

    Raises UsageError if ``path`` is not a definition, and LimitError if all builds together take too long.
    """
    from ...definitions.all_builds import all_choices, in_time
    from ...definitions.is_definition import is_definition

    if not is_definition(path):
        raise UsageError(f"--all-variants is for definitions, but '{printable(path)}' is not a definition")
    yield from in_time(all_choices(path, choice, limits.for_images()), limits.rendering.get("total"))
