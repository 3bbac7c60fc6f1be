"""``--html FILE``: a report of preview, diff or check as one self-contained page."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..model.errors import RefusedError, TemplaterError, WriteError, reason
from ..model.file_names import METADATA
from ..model.hosts import HOSTS
from ..model.source import Source
from ..model.unprintable_characters import printable
from . import completers, options, output
from .open_and_plan import Opened, fixed_options

if TYPE_CHECKING:
    from ..model.hosts import Host
    from ..model.instance import Instance
    from ..model.plan import Change, Plan
    from ..model.render_options import RenderOptions
    from ..pongo2.tracing.recorder import Name
    from ..rendering.origins import Explainer, Line
    from ..web.distinct_results import Column, InstanceView
    from .against_options import OtherSide


class Target(NamedTuple):
    """The file to which the HTML report is written, and whether the report shows secret values."""

    file: str
    show_secrets: bool


def html_options(function: options.Command) -> options.Command:
    """Add ``--html`` and ``--show-secrets``. The command receives a ``Target`` or None as ``html``."""

    @options.decorate(
        click.option(
            "--html", "html_file", metavar="FILE", shell_complete=completers.files,
            help="Write a report to FILE: a page that any browser opens. Secret values are redacted.",
        ),
        click.option("--show-secrets", is_flag=True, help="With --html: show secret values, too."),
    )  # fmt: skip
    @wraps(function)
    def wrapped(*arguments: Any, html_file: str | None, show_secrets: bool, **rest: Any) -> Any:
        if show_secrets and html_file is None:
            raise click.UsageError("--show-secrets needs --html")
        request = arguments[0] if arguments else None
        if html_file is not None and (rest.get("as_json") or (request is not None and request.as_json)):
            raise click.UsageError("--html can't be combined with --json")
        html = None if html_file is None else Target(html_file, show_secrets)
        if html is not None:
            check_target(html.file)
        return function(*arguments, html=html, **rest)

    return wrapped


def check_target(path: str) -> None:
    """Raise RefusedError if a report would overwrite another file.

    A report can overwrite only an empty file or an earlier report.
    """
    from ..web.report_page import START

    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise WriteError(f"can't write '{printable(path)}': {reason(error)}") from error
    if not stat.S_ISREG(found.st_mode):
        raise RefusedError(f"'{printable(path)}' is not a regular file", hint="give the name of a new file")
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(fd, "rb") as file:
        begin = file.read(len(START))
    if begin not in (b"", START.encode()):
        raise RefusedError(
            f"'{printable(path)}' exists and is not a report of templater", hint="give the name of a new file"
        )


def write(path: str, pieces: Iterable[str]) -> None:
    """Write a report that only the current user can read. No reader sees an incomplete file."""
    from ..image.atomic_output import Output

    with Output(os.path.dirname(path), private=True) as file:
        for piece in pieces:
            file.write(piece.encode())
        file.publish(path, replace=True)


def report_plans(
    found: Opened,
    target: Target,
    *,
    instances: Iterable[Instance] = (),
    hosts: Sequence[Host] = (),
    findings: Sequence[Mapping[str, Any]] | None = None,
    compares: bool = False,
) -> list[InstanceView]:
    """Write a report about the plans for each instance, and return a view of each instance.

    * ``instances``: if empty, the report is about the instance of the request
    * ``hosts``: the hosts of a report about several hosts
    * ``findings``: findings of `check`; if None, run `check` without validators and without the instance
    * ``compares``: whether the report shows how existing files change
    """
    from ..model.plan import Plan
    from ..web.distinct_results import instance_view
    from .plan_warnings import report_warnings

    each = [found._replace(instance=one, runs=runs_of(found, one)) for one in instances] or [found]
    fixed = fixed_options(found.request)
    views = [instance_view(one.instance, list(columns(one, fixed, hosts))) for one in each]
    groups = [[column.plan for column in view.columns if isinstance(column.plan, Plan)] for view in views]
    dialects = [host.dialect for host in hosts] or [fixed.dialect]
    assumed = report_warnings(groups, found.source.image, found.rootfs_option, dialects)
    if findings is None:
        findings = found_by_check(found, [host.name for host in hosts])
    write_report(found, target, views, findings, compares=compares, assumed=assumed)
    return views


def report_comparison(found: Opened, other: OtherSide, target: Target) -> InstanceView:
    """Write a report that compares the plans of both sides. Return the report's content."""
    from ..web.distinct_results import instance_view

    fixed = fixed_options(found.request)
    second, second_fixed = other.opened(found, fixed)
    time: list[Any] = []
    before = list(columns(found, fixed, side="before", time=time))
    after = list(columns(second, second_fixed, side="after", time=time))
    view = instance_view(found.instance, [*before, *after])
    write_report(found, target, [view], found_by_check(found, ()))
    return view


def write_report(
    found: Opened,
    target: Target,
    views: Sequence[InstanceView],
    findings: Sequence[Mapping[str, Any]] | None,
    *,
    compares: bool = False,
    assumed: Sequence[str] = (),
) -> None:
    from .. import __version__
    from ..model.plan import Plan
    from ..reporting.plan_text import summary
    from ..web.redaction import Redaction
    from ..web.report_page import Report, report_page

    metadata = Source(METADATA, found.source.image.read_metadata().data)
    every = [column for view in views for column in view.columns]
    texts = {source.text: None for column in every for source in column.sources.values()}
    made = [column.plan.instance for column in every if isinstance(column.plan, Plan)]
    redaction = Redaction(
        [*(view.instance for view in views), *made], "\n".join([metadata.text, *texts]),
        enabled=not target.show_secrets,
    )  # fmt: skip
    report = Report(
        found.request.src, __version__, views, metadata, redaction, findings,
        (*found.source.notes, *(found.instance.notes if len(views) == 1 else ()), *assumed), compares,
    )  # fmt: skip
    write(target.file, report_page(report))
    for column in every:
        text = summary(column.plan) if isinstance(column.plan, Plan) else f"{column.label}: {column.plan}"
        output.say(f"{column.side}: {text}" if column.side else text)
    output.say(f"wrote {printable(target.file)}")


def runs_of(found: Opened, instance: Instance) -> tuple[tuple[str, ...], ...]:
    """Return the runs to plan for ``instance``. Each run is a tuple of triggers, in order."""
    from ..model.default_triggers import default_triggers, next_start

    if found.request.triggers == ("next",):
        return (next_start(instance, None).passes,)
    if found.request.triggers:
        return found.runs
    return (default_triggers(instance, None, rootfs_of_instance=False).passes,)


def columns(
    found: Opened, fixed: RenderOptions, hosts: Sequence[Host] = (), *, side: str = "",
    time: list[Any] | None = None,
) -> Iterator[Column]:  # fmt: skip
    """Yield a column of the HTML report for each run and host.

    Calls with the same list ``time`` share one time limit for the explanations of lines. The list is empty at
    first.
    """
    from ..model.render_options import RenderOptions
    from ..planning.every_host import plan_every_host

    time = [] if time is None else time
    for triggers in found.runs:
        plans: Mapping[str, Plan | TemplaterError]
        if hosts:
            plans = plan_every_host(
                found.source.image, found.instance, fixed, triggers=triggers, rootfs=found.rootfs,
                reading=found.request.limits.for_reading(), new=found.makes_instance(triggers), hosts=hosts,
            )  # fmt: skip
        else:
            plans = {fixed.host.name: found.plan(triggers, fixed.begun())}
        for name, plan in plans.items():
            dialect = "" if hosts else fixed.dialect
            own = RenderOptions(HOSTS[name], dialect, fixed.clock, fixed.seed, fixed.limits)
            yield column(found, plan, triggers, own, side, time)


def column(
    found: Opened, plan: Plan | TemplaterError, triggers: tuple[str, ...], own: RenderOptions, side: str,
    time: list[Any],
) -> Column:  # fmt: skip
    from ..model.render_options import RenderOptions
    from ..planning.plan_image import read_templates
    from ..rendering.origins import Explainer, layers_of, names_read
    from ..web.distinct_results import Column

    if isinstance(plan, TemplaterError):
        return Column(own.host.name, triggers, plan, lambda change: None, lambda change: None, {}, side)
    given, templates = found.request.instance, read_templates(found.source.image, plan.metadata)
    layers = layers_of(found.instance, plan, given.config_overrides(), given.overridden_devices())
    sources = {
        name: file.source(f"templates/{name}") for name, file in templates.items() if file.data is not None
    }
    explainers: list[Explainer] = []
    names: dict[str, Collection[Name] | None] = {}  # the names that each template reads

    def explainer() -> Explainer:
        if not explainers:
            time[:] = time or [own.begun().limits]
            options = RenderOptions(own.host, own.dialect, own.clock, own.seed, time[0])
            explainers.append(Explainer(templates, layers, options))
        return explainers[0]

    def explain(change: Change) -> list[Line] | None:
        try:
            return explainer().lines(change)
        except TemplaterError:  # the time limit for all files is reached
            return None

    def reads(change: Change) -> Collection[Name] | None:
        template = change.rule.template
        if template not in names and template in sources:
            try:
                explainer().options.check_time()
            except TemplaterError:
                return None
            names[template] = names_read(sources[template], own.dialect)
        return names.get(template)

    return Column(own.host.name, triggers, plan, explain, reads, sources, side)


def found_by_check(found: Opened, hosts: Sequence[str]) -> list[dict[str, Any]] | None:
    """Return the findings of a `check` without validators, or None if the image cannot be checked."""
    from ..checks.authored_image import LIMITS
    from ..checks.check_report import check_report
    from .read_in_sandbox import read_image

    request = found.request
    if not os.path.exists(request.src) or found.source.is_instance:
        return None
    limits = request.limits
    chosen = tuple(hosts) or ((request.host.name,) if request.host.family else ())
    work = partial(
        check_report, trusted=False, hosts=chosen,
        limits=limits.for_images(), yaml=limits.for_reading(),
        rendering=limits.for_rendering(LIMITS.seconds, LIMITS.total),
        choice=None if found.source.definition is None else request.choice,
    )  # fmt: skip
    try:
        report = read_image(work, (request.src, None), limits)
    except TemplaterError as error:
        output.note(f"check did not run: {error}")
        return None
    return list(report["findings"])
