"""The page about a check, in Markdown, and the list of all checks.

`templater check --rule` prints a page or the list. SARIF files contain the pages.
"""

from textwrap import dedent

from ..model.errors import UsageError
from ..model.unprintable_characters import printable
from ..pongo2.syntax.hints import did_you_mean
from .base import Check
from .finding import Severity
from .run_checks import all_checks


def page(check: Check) -> str:
    """Return the page about a check, in Markdown."""
    hint = f"\nTo fix this finding, {check.hint}.\n" if check.hint else ""
    level = Severity.named(check.severity).level
    parts = [
        f"```text\n{dedent(part)}\n```" if part.startswith("    ") else part
        for part in check.text.split("\n\n")
    ]
    text = "\n\n".join(parts)
    return f"# {check.id}\n\n*Default severity: {level}.* Reported: {check.about}.\n\n{text}\n{hint}"


def page_or_list(id: str) -> str:
    """Return the page about a check, or the list of all checks if the id is ``list``.

    Raises UsageError for an unknown id.
    """
    if id == "list":
        return f"{table('authoring')}\ntemplater audit:\n{table('security')}"
    checks = {check.id: check for check in (*all_checks("security"), *all_checks("authoring"))}
    if id not in checks:
        hint = printable(did_you_mean(id, sorted(checks))) or "`templater check --rule list` lists the checks"
        raise UsageError(f"unknown check '{printable(id)}'", hint=hint)
    return page(checks[id])


def table(folder: str) -> str:
    """Return a line for each check of a folder: its id, its default severity and its summary."""
    checks = sorted(all_checks(folder), key=lambda check: check.id)
    return "".join(f"{check.id:<19} {check.severity:<9} {check.about}\n" for check in checks)
