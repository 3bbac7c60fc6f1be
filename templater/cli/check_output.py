"""Output of the findings of ``check``: as text, by file, and in the formats of ``--report``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..model.unprintable_characters import printable, printable_lines
from . import output, terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.text import Text


def write(reports: list[dict[str, Any]], report: str, *, show_ignored: bool) -> None:
    from ..checks import ci_formats
    from ..checks.check_report import summary

    if report == "json":
        for found in reports:
            if found["hosts"] is None:
                del found["hosts"]
            else:
                del found["hosts"]["text"]
        output.write_json(
            [{key: value for key, value in found.items() if key != "sarif"} for found in reports]
        )
    elif report == "sarif":
        documents = [found["sarif"] for found in reports if found["sarif"] is not None]
        if documents:
            runs = [run for document in documents for run in document["runs"]]
            output.write_json({**documents[0], "runs": runs})
    elif report == "gitlab":
        output.write_json(ci_formats.gitlab(reports))
    elif report != "text":
        output.write(ci_formats.junit(reports) if report == "junit" else ci_formats.github(reports))
    else:
        for found in (found for found in reports if "error" not in found):
            show(found["findings"])
            if show_ignored and found["suppressed"]:
                output.write("ignored:\n")
                show(found["suppressed"])
            if found["hosts"] is not None and found["hosts"]["text"]:
                output.write(("\n" if found["findings"] else "") + found["hosts"]["text"])
            elif found["hosts"] is not None:
                output.say(
                    f"{found['image']}: every file is the same on {', '.join(found['hosts']['hosts'])}"
                )
            output.say(summary(found))


def show(findings: list[dict[str, Any]]) -> None:
    """Print the findings by file, each with its source line and hint."""
    if terminal.has_layout():
        output.write_lines(findings_by_file(findings, terminal.width()))
        return
    file = None
    for finding in findings:
        name = finding["file"]
        if name != file:
            output.write("" if file is None else "\n")
            output.write(printable(name) + "\n")
            file = name
        place = f"{finding['line']}:{finding['column']}: " if "line" in finding else ""
        text = f"{place}{finding['severity']}: {finding['message']}  [{finding['check']}]"
        output.write("  " + printable_lines(text) + "\n")
        for line in finding.get("excerpt", "").splitlines():
            output.write("    " + printable(line) + "\n")
        if "hint" in finding:
            output.write("    " + printable_lines(f"hint: {finding['hint']}") + "\n")


def findings_by_file(findings: Sequence[dict[str, Any]], width: int) -> Iterator[Text]:
    """Yield the findings of `check`, with a heading for each file."""
    from rich.text import Text

    from .styled import SEVERITIES, message, title, wrapped

    file = None
    for finding in findings:
        if file is not None:
            yield Text()
        if finding["file"] != file:
            file = finding["file"]
            yield title(file)
        place = f"{finding['line']}:{finding['column']} " if "line" in finding else ""
        text = Text("  ").append(place, "dim").append(finding["severity"], SEVERITIES[finding["severity"]])
        text.append(f": {printable(finding['message'])}  ").append(f"[{finding['check']}]", "dim")
        yield from wrapped(text, width, hanging=4)
        hint = f"hint: {finding['hint']}" if "hint" in finding else ""
        yield from message("\n".join(filter(None, (finding.get("excerpt", ""), hint))), width, indent=4)
