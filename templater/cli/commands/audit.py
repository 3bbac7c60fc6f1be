"""``templater audit``: check an untrusted image."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ...model.unprintable_characters import printable_lines
from .. import completers, options, output, terminal
from ..enforce_limits import guarded
from ..fetched_source import local_files
from ..read_in_sandbox import AUDIT, SARIF_AUDIT, read_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.text import Text

    from ...limit_option import Given
    from ...model.instance import Instance

HELP = """Check IMAGE for security problems without running it.

Each finding has a severity and a place, and can name the public advisory of a similar problem. The command
reads the whole image, including archive members that daemons do not reach. IMAGE is a directory, a unified
tarball, or a split image's metadata tarball followed by its ROOTFS. The exit code is 1 if there is a finding
at or above --at-least. Templates are rendered for a plain container and a plain virtual machine, and for the
instance that the options describe.

\b
Examples:
  templater audit image.tar.xz
  templater audit metadata.tar.xz rootfs.squashfs
  templater audit ./image -i web1.json
  templater audit ./image --report sarif > image.sarif
  templater audit image.tar.xz --at-least high || echo "not this one"
"""

LEVELS = ("info", "low", "medium", "high", "critical")


@click.command(help=HELP)
@click.argument("image", metavar="IMAGE", shell_complete=completers.source)
@options.rootfs_argument(required=False)
@options.instance_options
@click.option(
    "--at-least",
    type=click.Choice(LEVELS),
    default="low",
    show_default=True,
    help="Show findings of this severity and above.",
)
@click.option("--report", type=click.Choice(["text", "json", "sarif"]), help="Report format. [default: text]")
@options.limit_option()
@click.option("--json", "as_json", is_flag=True, help="Short for --report json.")
@guarded
def command(
    image: str,
    rootfs: str | None,
    instance: options.Description,
    at_least: str,
    report: str | None,
    limits: Given,
    as_json: bool,
) -> int:
    from ... import __version__

    if rootfs is None:
        local, rootfs = local_files(image)
    else:
        local = image
    if as_json and report not in (None, "json"):
        raise click.UsageError(f"--json and --report {report} contradict each other")
    report = "json" if as_json else report or "text"
    sarif = None
    if report == "sarif":
        from ...checks.sarif import uri_of

        sarif = __version__, uri_of(image)
    described = instance.read() if instance.is_given else None
    for note in () if described is None else described.notes:
        output.note(note)
    work = partial(audited, at_least=at_least, limits=limits, instance=described, sarif=sarif)
    paths = options.existing(local), rootfs and options.existing(rootfs)
    found = read_image(work, paths, limits, packages=SARIF_AUDIT if report == "sarif" else AUDIT)
    terminal.page()
    if report == "sarif":
        output.write_json(found["sarif"])
    elif report == "json":
        output.write_json({"image": image, "findings": found["findings"], "hidden": found["hidden"]})
    else:
        show(found["findings"])
        output.say(summary(image, found["findings"], found["hidden"]))
    return 1 if found["findings"] else 0


def audited(
    path: str,
    rootfs: str | None,
    *,
    at_least: str,
    limits: Given,
    instance: Instance | None,
    sarif: tuple[str, str] | None,
) -> dict[str, Any]:
    """Return the report of an audit, see ``audit_report``.

    The function imports its modules itself. If templater runs as root, only a child process calls the
    function, so the parent process does not need the modules.
    """
    from ...checks.audit_report import audit_report
    from ...checks.security.runaway import LIMITS

    return audit_report(
        path, rootfs, at_least=at_least, limits=limits.for_images(), yaml=limits.for_reading(),
        rendering=limits.for_rendering(LIMITS.seconds, LIMITS.total), instance=instance, sarif=sarif,
    )  # fmt: skip


def show(findings: list[dict[str, Any]]) -> None:
    """Print each finding on a line, and its hint on the next line."""
    if terminal.has_layout():
        output.write_lines(findings_in_columns(findings, terminal.width()))
        return
    for finding in findings:
        advisory = f"  [{finding['advisory']}]" if "advisory" in finding else ""
        place = f"{finding['place']}: " if finding["place"] else ""
        text = f"{place}{finding['message']}{advisory}"
        output.write(f"{finding['severity']:8}  {finding['check']:20}  " + printable_lines(text) + "\n")
        if "hint" in finding:
            output.write(f"{'':32}" + printable_lines(f"hint: {finding['hint']}") + "\n")


def findings_in_columns(findings: Sequence[dict[str, Any]], width: int) -> Iterator[Text]:
    """Yield the findings of `audit`: severity and check, then the message beside or below them."""
    from rich.cells import cell_len
    from rich.text import Text

    from ...model.unprintable_characters import printable
    from ..styled import SEVERITIES, wrapped

    for finding in findings:
        severity = finding["severity"]
        text = Text().append(f"{severity:8}", SEVERITIES[severity]).append(f"  {finding['check']}  ", "bold")
        text.append(f"{printable(finding['place'])}", "cyan")
        advisory = f"  [{finding['advisory']}]" if "advisory" in finding else ""
        words = printable(f"{finding['message']}{advisory}")
        if finding["place"] and text.cell_len + 2 + cell_len(words) > width:
            yield from wrapped(text, width, hanging=10)
            yield from wrapped(Text(words), width, indent=10)
        else:
            yield from wrapped(text.append(": " if finding["place"] else "").append(words), width, hanging=10)
        if "hint" in finding:
            yield from wrapped(Text(printable(f"hint: {finding['hint']}"), "dim"), width, indent=10)


def summary(image: str, findings: list[dict[str, Any]], hidden: dict[str, int]) -> str:
    """Return a line with the numbers of shown and hidden findings by severity."""
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding["severity"]] = counts.get(finding["severity"], 0) + 1
    shown = ", ".join(f"{count} {severity}" for severity, count in counts.items())
    text = f"{image}: {shown or 'nothing found'}"
    if not hidden:
        return text
    if len(hidden) == 1:
        ((severity, count),) = hidden.items()
        return f"{text}; {count} more at level {severity}"
    return f"{text}; more at lower levels: " + ", ".join(
        f"{count} {level}" for level, count in hidden.items()
    )
