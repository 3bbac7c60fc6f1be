"""Reports of test runs: text, JSON, JUnit and TAP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ..checks.ci_formats import xml_quoted
from ..model.unprintable_characters import printable, printable_lines
from ..reporting.json_escapes import json_text
from .case import Failure, Outcome
from .coverage import coverage_lines


def failure_data(failure: Failure) -> dict[str, Any]:
    span = failure.span.origin
    data: dict[str, Any] = {
        "message": json_text(failure.message), "place": failure.span.place,
        "file": json_text(span.source.name),
        "line": span.line, "column": span.column,
    }  # fmt: skip
    if failure.detail:
        data["detail"] = printable_lines(failure.detail)
    if failure.hint:
        data["hint"] = json_text(failure.hint)
    return data


def case_data(outcome: Outcome) -> dict[str, Any]:
    """Return the result of a case as a JSON object."""
    case = outcome.case
    span = case.span.origin
    return {
        "file": json_text(case.file), "name": case.name, "matrix": case.label, "line": span.line,
        "passed": outcome.passed, "seconds": round(outcome.seconds, 6),
        "failures": [failure_data(failure) for failure in outcome.failures],
    }  # fmt: skip


def failure_lines(failure: dict[str, Any]) -> Iterator[str]:
    """Yield a failure as indented lines: the place, the message, the detail and the hint."""
    yield f"  {failure['place']}: {printable(failure['message'])}"
    for line in failure.get("detail", "").removesuffix("\n").split("\n") if "detail" in failure else ():
        yield f"    {printable(line)}".rstrip()
    if "hint" in failure:
        yield f"    hint: {printable(failure['hint'])}"


def title(case: dict[str, Any]) -> str:
    return printable(f"{case['name']} [{case['matrix']}]" if case["matrix"] else case["name"])


def case_lines(case: dict[str, Any]) -> Iterator[str]:
    """Yield the lines for a failed case."""
    yield f"FAIL {printable(case['file'])}:{case['line']}: {title(case)}"
    for failure in case["failures"]:
        yield from failure_lines(failure)


def text(report: dict[str, Any], *, verbose: bool) -> str:
    """Return the failed cases of an image, and a line with the numbers of cases."""
    lines: list[str] = []
    for case in report["cases"]:
        if not case["passed"]:
            lines += case_lines(case)
        elif verbose:
            lines.append(f"ok   {printable(case['file'])}:{case['line']}: {title(case)}")
    if "coverage" in report:
        lines += coverage_lines(report["coverage"])
    return "".join(f"{line}\n" for line in [*lines, summary(report)])


def summary(report: dict[str, Any]) -> str:
    counts = Counter(case["passed"] for case in report["cases"])
    words = [f"{counts[True]} passed"] if counts[True] or not counts else []
    words += [f"{counts[False]} failed"] if counts[False] else []
    return f"{printable(report['image'])}: {', '.join(words)}"


def tap(reports: list[dict[str, Any]]) -> str:
    """Return a document of the Test Anything Protocol, version 13."""
    cases = [case for report in reports for case in report["cases"]]
    broken = [report for report in reports if report.get("error")]
    lines = ["TAP version 13", f"1..{len(cases) + len(broken)}"]
    for number, case in enumerate(cases, 1):
        name = f"{printable(case['file'])}: {title(case)}".replace("#", "\\#")
        lines.append(f"{'ok' if case['passed'] else 'not ok'} {number} - {name}")
        if not case["passed"]:
            lines += diagnostics([line for each in case["failures"] for line in failure_lines(each)])
    for number, report in enumerate(broken, len(cases) + 1):
        lines.append(f"not ok {number} - {printable(report['image'])}".replace("#", "\\#"))
        lines += diagnostics(printable_lines(report["error"]).split("\n"))
    return "\n".join([*lines, ""])


def diagnostics(lines: list[str]) -> list[str]:
    """Return lines as the YAML block of a failed test."""
    return ["  ---", "  message: |", *(f"    {line}".rstrip() for line in lines), "  ..."]


def junit(reports: list[dict[str, Any]]) -> str:
    """Return a JUnit document: a suite for each test file."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>"]
    for report in reports:
        if report.get("error"):
            name = xml_quoted(report["image"])
            lines.append(f'<testsuite name={name} tests="1" failures="0" errors="1" skipped="0" time="0">')
            lines.append(f'<testcase classname={name} name="test" time="0">')
            lines.append(f"<error message={xml_quoted(report['error'])}/></testcase></testsuite>")
        files: dict[str, list[dict[str, Any]]] = {}
        for case in report["cases"]:
            files.setdefault(case["file"], []).append(case)
        for file, cases in files.items():
            failed = sum(not case["passed"] for case in cases)
            seconds = sum(case["seconds"] for case in cases)
            name = xml_quoted(file)
            lines.append(
                f'<testsuite name={name} tests="{len(cases)}" failures="{failed}" errors="0" skipped="0"'
                f' time="{seconds:.3f}">'
            )
            lines += [line for case in cases for line in junit_case(case, name)]
            lines.append("</testsuite>")
    return "\n".join([*lines, "</testsuites>", ""])


def junit_case(case: dict[str, Any], classname: str) -> Iterator[str]:
    opening = f'<testcase classname={classname} name={xml_quoted(title(case))} time="{case["seconds"]:.3f}"'
    if case["passed"]:
        yield f"{opening}/>"
        return
    yield f"{opening}>"
    words = "\n".join(line for each in case["failures"] for line in failure_lines(each))
    message = xml_quoted(case["failures"][0]["message"])
    yield f'<failure type="expectation" message={message}>{xml_quoted(words)[1:-1]}</failure></testcase>'
