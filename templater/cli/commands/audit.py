"""``templater audit``: what can be seen in an image that should worry its reader."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from .. import options, output

if TYPE_CHECKING:
    from ...checks.finding import Finding
    from ...limits import Given

HELP = """Judge IMAGE without running it.

Each finding has a severity, a place, and the public advisory it resembles. All of the image is read:
nothing hides behind the members that a daemon stops at. IMAGE is a directory, a unified tarball, or a
split image's metadata tarball, whose second file is ROOTFS. The exit code is 1 if there is a finding
at or above --at-least.

\b
Examples:
  templater audit image.tar.xz
  templater audit metadata.tar.xz rootfs.squashfs
  templater audit ./image --report sarif > image.sarif
  templater audit image.tar.xz --at-least high || echo "not this one"
"""

COLOURS = {"critical": "bright_red", "high": "red", "medium": "yellow", "low": "cyan", "info": "bright_black"}
LEVELS = [*reversed(COLOURS)]


@click.command(help=HELP)
@click.argument("image", metavar="IMAGE", shell_complete=options.complete_files)
@options.rootfs_argument(required=False)
@click.option(
    "--at-least",
    type=click.Choice(LEVELS),
    default="low",
    show_default=True,
    help="Leave out what is milder.",
)
@click.option("--report", type=click.Choice(["text", "json", "sarif"]), help="Text, if nothing is said.")
@options.limit_option()
@click.option("--json", "as_json", is_flag=True, help="Short for --report json.")
def command(
    image: str, rootfs: str | None, at_least: str, report: str | None, limits: Given, as_json: bool
) -> int:
    from ...checks.finding import Severity, audit, finding_data, sarif
    from ...checks.scan import AUDITED, survey
    from ...checks.security.runaway import LIMITS

    if as_json and report not in (None, "json"):
        raise click.UsageError(f"--json and --report {report} contradict each other")

    rendering = limits.for_rendering(LIMITS.seconds, LIMITS.total)
    surveyed = survey(
        options.existing(image),
        limits.for_images(AUDITED),
        rootfs=rootfs and options.existing(rootfs),
        yaml=limits.for_reading(),
        rendering=rendering,
    )
    findings = [finding for finding in audit(surveyed) if finding.severity >= Severity.named(at_least)]
    if report == "sarif":
        from ... import __version__

        output.write_json(sarif(findings, surveyed, __version__, uri_of(image)))
    elif as_json or report == "json":
        output.write_json({"image": image, "findings": [finding_data(finding) for finding in findings]})
    else:
        show(findings)
        output.say(summary(image, findings))
    return 1 if findings else 0


def uri_of(path: str) -> str:
    """Relative where the path lies below the working directory, as in a repository's checkout."""
    from urllib.parse import quote

    relative = os.path.relpath(path)
    if relative.split("/")[0] == "..":
        return "file://" + quote(os.fsencode(os.path.abspath(path)))
    return quote(os.fsencode(relative))


def show(findings: list[Finding]) -> None:
    """One finding a line; the hint under it."""
    styled = output.on_terminal()
    for finding in findings:
        severity = finding.severity.name.lower()
        word = click.style(f"{severity:8}", fg=COLOURS[severity]) if styled else f"{severity:8}"
        advisory = f"  [{finding.advisory}]" if finding.advisory else ""
        place = f"{finding.place}: " if finding.place else ""
        click.echo(f"{word}  {finding.check:20}  " + output.visible(f"{place}{finding.message}{advisory}"))
        if finding.hint:
            click.echo(f"{'':32}" + output.visible(f"hint: {finding.hint}"))


def summary(image: str, findings: list[Finding]) -> str:
    counts: dict[str, int] = {}
    for finding in findings:
        severity = finding.severity.name.lower()
        counts[severity] = counts.get(severity, 0) + 1
    told = ", ".join(f"{count} {severity}" for severity, count in counts.items())
    return f"{image}: {told or 'nothing found'}"
