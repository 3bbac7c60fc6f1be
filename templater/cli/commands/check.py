"""``templater check``: find an image author's mistakes."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ...definitions.choice import CONTAINER, VM, Choice
from ...live.address import is_live
from ...model.errors import RefusedError, TemplaterError, reason
from ...model.file_names import METADATA, SETTINGS, TEMPLATES
from ...model.hosts import HOSTS, INCUS
from ...model.instance import VIRTUAL_MACHINE
from ...model.unprintable_characters import printable
from .. import completers, options, output, terminal
from ..check_output import write
from ..enforce_limits import guarded, processor_left
from ..fetched_source import local_source
from ..html_report import Target, html_options, report_plans
from ..live_copy import live_copy
from ..read_in_sandbox import needs_sandbox, read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ...checks.fixes import Fixes
    from ...limit_option import Given
    from ...validators.runner import Validators

HELP = """Check the image SRC for mistakes in its metadata and templates.

The templates are rendered for the instance that the options describe. If no option describes an instance,
the templates are rendered for a bare instance, and for an instance with every key that the templates read.
Each rendered file is checked according to its type. The exit code is 1 if there is a finding at or above
--at-least. See `audit` for an image that you do not trust.

Installed programs such as visudo and systemd-analyze check the files of their kind, in a sandbox.

\b
Examples:
  templater check ./image
  templater check ./image --as incus,lxd           for both daemons
  templater check ./image -i web1.yaml
  templater check ./image --diff                   what --fix would change
  templater check metadata.tar.xz rootfs.squashfs  a split image
  templater check images/* --report junit > check.xml
  templater check --rule list                      list the checks
  templater check --rule unknown-variable          explain a check
"""

LEVELS = ("error", "warning", "info")
REPORTS = ("text", "json", "sarif", "junit", "github", "gitlab")


def split_hosts(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Return the hosts that a list of names selects. The name ``all`` selects every host."""
    if value is None:
        return ()
    names = [name for name in HOSTS if HOSTS[name].family]
    if value == "all":
        return tuple(names)
    chosen = value.split(",")
    for name in chosen:
        if name not in names:
            raise click.BadParameter(
                f"unknown host '{printable(name)}'; known hosts: {', '.join(names)}, all"
            )
    return tuple(dict.fromkeys(chosen))


def number_of_sources(sources: tuple[str, ...], **_: Any) -> int:
    """Return the number of images to check. The limit on processor time grows with this number."""
    return max(1, len(sources))


@click.command(help=HELP)
@click.argument("sources", metavar="SRC...", nargs=-1, shell_complete=completers.source)
@options.instance_options
@click.option(
    "--as",
    "hosts",
    metavar="HOST,...",
    callback=split_hosts,
    help="Daemon releases that the image must work on, separated by commas, or `all`.  [default: incus]",
    shell_complete=completers.list_of((*(name for name in HOSTS if HOSTS[name].family), "all")),
)
@click.option(
    "--at-least",
    type=click.Choice(LEVELS),
    default="warning",
    show_default=True,
    help="Show findings of this severity and above.",
)
@click.option("--report", type=click.Choice(REPORTS), help="Report format. [default: text]")
@click.option(
    "--rule",
    metavar="ID",
    help="Explain the check ID, or `list` all checks. No image is checked.",
    shell_complete=completers.checks,
)
@click.option(
    "--rootfs",
    metavar="FILE|DIR|none",
    help="Second file of a split image. A squashfs or qcow2 file can also follow SRC without --rootfs."
    " If SRC is a definition: the root filesystem that its build unpacks.",
    shell_complete=completers.files,
)
@click.option("--trust-config", is_flag=True, help="Also read templater.toml inside an archive.")
@click.option(
    "--fix", is_flag=True, help="Correct mistakes that have one safe correction. SRC must be a directory."
)
@click.option("--diff", "as_diff", is_flag=True, help="Show what --fix would change, and change nothing.")
@click.option(
    "--unsafe-fixes",
    is_flag=True,
    help="With --fix or --diff: also make corrections that can change the files of instances.",
)
@click.option(
    "--run-validators/--no-run-validators",
    default=None,
    envvar="TEMPLATER_RUN_VALIDATORS",
    help="Run programs such as visudo even without a sandbox, or never run them."
    " [default: only in a sandbox]",
)
@click.option(
    "--show-ignored", is_flag=True, help="List the findings that a comment or templater.toml suppresses."
)
@options.parameter_option
@click.option("--project", metavar="NAME", help="Project of SRC, if SRC is a running instance.")
@click.option(
    "--all-variants",
    is_flag=True,
    help="If SRC is a definition: check one build for each combination of release, architecture, variant and"
    " type in its filters.",
)
@options.limit_option()
@click.option("--json", "as_json", is_flag=True, help="Short for --report json.")
@html_options
@partial(guarded, images=number_of_sources)
def command(
    sources: tuple[str, ...],
    instance: options.Description,
    hosts: tuple[str, ...],
    at_least: str,
    report: str | None,
    rule: str | None,
    rootfs: str | None,
    trust_config: bool,
    fix: bool,
    as_diff: bool,
    unsafe_fixes: bool,
    run_validators: bool | None,
    show_ignored: bool,
    parameters: tuple[str, ...],
    project: str | None,
    all_variants: bool,
    limits: Given,
    as_json: bool,
    html: Target | None,
) -> int:
    from ... import __version__
    from ...checks.authored_image import LIMITS
    from ...checks.check_report import check_report
    from ...checks.fixes import fix_image
    from ...checks.sarif import uri_of
    from ...definitions.is_definition import is_definition

    if rule is not None:
        from ...checks.page_about_check import page_or_list

        output.write(page_or_list(rule))
        return 0
    if not sources:
        raise click.UsageError("missing argument 'SRC...'")
    if as_json and report not in (None, "json"):
        raise click.UsageError(f"--json and --report {report} contradict each other")
    if as_diff and (as_json or report):
        raise click.UsageError("--diff can't be combined with --report or --json")
    if html is not None and (len(sources) > 1 or fix or as_diff or report or all_variants):
        raise click.UsageError(
            "--html can't be combined with --report, --fix, --diff, --all-variants or several SRC"
        )
    if unsafe_fixes and not (fix or as_diff):
        raise click.UsageError("--unsafe-fixes needs --fix or --diff")
    sources = tuple(dict.fromkeys(image_of(given.rstrip("/") or given) for given in sources))
    if fix or as_diff:
        refuse_archives(sources)
    report = "json" if as_json else report or "text"
    described = instance.read() if instance.is_given else None
    for note in () if described is None else described.notes:
        output.note(note)
    reports: list[dict[str, Any]] = []
    errors: list[Exception] = []
    changed = False
    paired = pairs(sources, rootfs)

    def check(source: str, second: str | None) -> None:
        nonlocal changed
        settings: dict[str, Any] = {
            "hosts": hosts,
            "instances": () if described is None else (described,),
            "at_least": at_least,
            "limits": limits.for_images(),
            "yaml": limits.for_reading(),
            "rendering": limits.for_rendering(LIMITS.seconds, LIMITS.total),
            "sarif": (__version__, uri_of(source)) if report == "sarif" else None,
        }
        if fix or as_diff:
            fixes = fix_image(
                source, unsafe=unsafe_fixes, **settings, validators=local_validators(run_validators)
            )
            changed = changed or bool(fixes.changes)
            if as_diff:
                show_diff(source, fixes)
            else:
                write_fixes(source, fixes)
                fixes.report.pop("not_run")
                reports.append({"image": source, **fixes.report})
            return
        local = local_source(source)
        if is_live(local):
            copied = opened.enter_context(live_copy(local, project, limits.for_images()))
            local, live_instance, host = copied
            settings["hosts"] = hosts or (host,)
            settings["instances"] = settings["instances"] or (live_instance,)
        elif project is not None:
            raise click.UsageError("--project is for running instances, such as incus:web1")
        kind = VM if instance.type == VIRTUAL_MACHINE else CONTAINER
        choice = Choice(parameters, kind, second)
        of_definition = is_definition(local)
        if of_definition:
            settings |= {"choice": choice, "all_variants": all_variants}
        elif all_variants:
            raise click.UsageError(
                f"--all-variants is for definitions, but '{printable(source)}' is not a definition"
            )
        else:
            choice.refuse_parameters(source)
        work = partial(
            check_report, trusted=trust_config or os.path.isdir(source),
            redacted=html is not None and not html.show_secrets, **settings,
        )  # fmt: skip
        if of_definition and second == "none":
            second = None
        files = options.existing(local), second and options.existing(second)
        found = read(work, files, limits, run_validators)
        missing = ", ".join(found.pop("not_run"))
        if missing and not of_definition and not os.path.isdir(source):
            why = (
                "the image is a running instance"
                if is_live(source)
                else "the image has no readable root filesystem"
                if local == source
                else "the image was fetched without its root filesystem"
            )
            note = f"checks that need a root filesystem did not run, because {why}: {missing}"
            found["notes"].append(note)
        reports.append({"image": source, **found})

    for source, second in paired:
        try:
            with ExitStack() as opened:
                check(source, second)
        except (TemplaterError, click.UsageError, OSError) as error:
            if len(paired) == 1:
                raise
            errors.append(error)
            reports.append({"image": source, "error": explained(error), **NOTHING})
    if not as_diff:
        terminal.page()
        write(reports, report, show_ignored=show_ignored)
    if html is not None and not errors:
        (source, second), host = paired[0], HOSTS[hosts[0]] if hosts else INCUS
        choice = Choice(parameters, VM if instance.type == VIRTUAL_MACHINE else CONTAINER, second)
        asked = options.Request(
            local_source(source), instance, (), second, host, None, limits, as_json=False, choice=choice
        )
        findings = reports[0]["findings" if html.show_secrets else "redacted"]
        write_html(asked, hosts, html, findings)
    for note in dict.fromkeys(note for found in reports for note in found["notes"]):
        output.note(note)
    for each in errors:
        output.say(f"templater: {explained(each)}")
    if errors:
        return getattr(errors[0], "exit_code", 2)
    if as_diff:
        return int(changed)
    return 1 if any(found["findings"] for found in reports) else 0


def write_html(
    request: options.Request, hosts: Sequence[str], target: Target, findings: Sequence[Mapping[str, Any]]
) -> None:
    """Write the HTML report of `check`. For each host, the report shows the described instance's files."""
    from ..open_and_plan import opened

    chosen = [HOSTS[name] for name in hosts]
    with opened(request) as found:
        report_plans(found, target, hosts=chosen if len(chosen) > 1 else (), findings=findings)


def pairs(sources: tuple[str, ...], rootfs: str | None) -> list[tuple[str, str | None]]:
    """Return a pair for each image: its path, and the path of its second file or None.

    ``rootfs`` is the second file of the only SRC. Without ``rootfs``, a squashfs file or disk image in
    ``sources`` is the second file of the image before it.
    """
    if rootfs is not None:
        if len(sources) > 1:
            raise click.UsageError("--rootfs can't be combined with several SRC")
        return [(sources[0], rootfs)]
    from ...image.open_file import kind_of_file
    from ...parsing.file_kind import QCOW2, SQUASHFS

    found: list[tuple[str, str | None]] = []
    for source in sources:
        follows = bool(found) and found[-1][1] is None and all(map(os.path.isfile, (source, found[-1][0])))
        if follows and kind_of_file(source) in (SQUASHFS, QCOW2):
            found[-1] = found[-1][0], source
        else:
            found.append((source, None))
    return found


def image_of(path: str) -> str:
    """Return the image directory if the path is a metadata.yaml, a templater.toml or a template.

    Return any other path unchanged. The program pre-commit passes the paths of changed files to `check`.
    """
    folder, name = os.path.split(path)
    if name in (METADATA, SETTINGS) and os.path.isfile(path):
        return folder or "."
    parent, templates = os.path.split(folder)
    if templates == TEMPLATES and os.path.isfile(os.path.join(parent, METADATA)):
        return parent or "."
    return path


#: the fields of a report that are empty if the image cannot be read
NOTHING: dict[str, Any] = {
    "findings": [], "hidden": {}, "suppressed": [], "notes": [], "not_validated": [], "hosts": None,
    "sarif": None,
}  # fmt: skip


def explained(error: Exception) -> str:
    """Return an error's message for a command that checks several images."""
    if isinstance(error, TemplaterError):
        return error.explain()
    if isinstance(error, click.UsageError):
        return error.format_message()
    return f"{error.filename}: {reason(error)}" if isinstance(error, OSError) else str(error)


def local_validators(run: bool | None) -> Validators | None:
    """Return the validators for an image that is read without a sandbox, or None if ``run`` is false."""
    from ...validators.runner import in_this_process

    return None if run is False else in_this_process(anyway=run is True, command_left=processor_left)


def read(
    work: Callable[..., Any], paths: tuple[str | None, ...], limits: Given, run_validators: bool | None
) -> Any:
    """Read an image with ``read_image``.

    If a sandboxed process reads the image, and validators should run, start another process that runs them.
    """
    if run_validators is False or not needs_sandbox(paths):
        return read_image(partial(work, validators=local_validators(run_validators)), paths, limits)
    from ...validators.process_for_locked_callers import UnlockedProcess
    from ...validators.runner import PROCESSOR_SECONDS, Runner, Validators

    # The process that reads the image and the process that runs validators work at the same time. Neither of
    # them knows the other's processor time, so each gets a share.
    share = min(PROCESSOR_SECONDS, processor_left() / 3)
    with UnlockedProcess(Runner(anyway=run_validators is True, processor_seconds=share)) as helper:
        validated = partial(work, validators=Validators(helper.ask))
        return read_image(validated, paths, limits, (helper.descriptor,), reserved=share)


def refuse_archives(sources: tuple[str, ...]) -> None:
    """Raise an error unless each SRC is a directory. Call this before any directory is changed."""
    for source in sources:
        if not os.path.isdir(options.existing(source) if ":" not in source else source):
            raise RefusedError(
                f"'{printable(source)}' is not a directory, so it can't be fixed",
                hint="fix the directory that the image is built from, or extract the image first",
            )


def show_diff(source: str, fixes: Fixes) -> None:
    from ...reporting.patch import of_text
    from ..patches import show_patch

    for name, (before, after) in sorted(fixes.changes.items()):
        show_patch(of_text(f"{source}/{name}", before, after))
    output.say(f"{source}: {counted(fixes, 'would fix')}")


def write_fixes(source: str, fixes: Fixes) -> None:
    from ...image.replace_files import replace

    if fixes.changes:
        new = {name: after for name, (_, after) in fixes.changes.items()}
        replace(source, new, before={name: before for name, (before, _) in fixes.changes.items()})
        output.say(f"{source}: {counted(fixes, 'fixed')}")


def counted(fixes: Fixes, verb: str) -> str:
    """Return a text with the number of fixed findings, in total and for each check."""
    from collections import Counter

    if not fixes.fixed:
        return "nothing to fix"
    counts = Counter(fixes.fixed)
    words = ", ".join(f"{count} {check}" for check, count in sorted(counts.items()))
    return f"{verb} {len(fixes.fixed)} finding{'s' if len(fixes.fixed) > 1 else ''} ({words})"
