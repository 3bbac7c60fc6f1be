"""``templater hook status``: check whether a hook would run."""

from __future__ import annotations

import click

from ....hooks import runtimes
from ....hooks.common_status_checks import Finding
from ....hooks.runtimes import runtimes_with
from ....model.errors import UsageError
from ....model.unprintable_characters import printable_lines
from ... import completers, options, output
from ...enforce_limits import guarded_alone


@click.command()
@click.argument("runtime", type=click.Choice(runtimes_with("status")))
@click.argument("name", default="")
@click.option(
    "-P",
    "--path",
    default="",
    help="LXC's lxcpath, podman's hooks.d, or the directory of systemd units.",
    shell_complete=completers.directories,
)
@options.json_option
@guarded_alone
def command(runtime: str, name: str, path: str, as_json: bool) -> int:
    """Check whether the hook would run at the next start. The exit code is 1 if the hook would not run."""
    try:
        findings: list[Finding] = list(runtimes.function_of(runtime, "status")(name, path))
    except UsageError as error:
        raise click.UsageError(error.explain()) from None
    if as_json:
        output.write_json([{"ok": each.ok, "text": each.text, "hint": each.hint} for each in findings])
    for finding in () if as_json else findings:
        mark = {True: "ok", False: "no", None: "--"}[finding.ok]
        output.write(f"{mark}  {printable_lines(finding.text)}\n")
        if finding.hint and not finding.ok:
            output.write(f"    {printable_lines(finding.hint)}\n")
    return 1 if any(finding.ok is False for finding in findings) else 0
