"""The page about a check, in Markdown, for `templater check --rule` and for SARIF files."""

from textwrap import dedent

from .base import Check
from .finding import Severity


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
