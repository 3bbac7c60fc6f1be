"""What can be seen of an image without running it, judged: findings with severity, place and advisory."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from importlib import import_module
from typing import Any

from . import checks
from .checks import Check, Survey
from .source import Span, printable


class Severity(IntEnum):
    """How bad: from "worth knowing" to "writes or reads the host's files where a daemon is old"."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @classmethod
    def named(cls, name: str) -> Severity:
        return cls[name.upper()]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check saw."""

    check: str
    severity: Severity
    message: str
    #: a place in a text, or empty and ``where`` names a member of the image
    span: Span | None
    where: str
    advisory: str = ""
    hint: str = ""

    @property
    def place(self) -> str:
        return self.span.place if self.span is not None else printable(self.where)


def all_checks() -> Iterator[Check]:
    """Every check, by name of its file."""
    for module in sorted(found.name for found in pkgutil.iter_modules(checks.__path__)):
        for value in vars(import_module(f"{checks.__name__}.{module}")).values():
            if isinstance(value, Check):
                yield value


def audit(survey: Survey) -> list[Finding]:
    """Every finding of every check, the worst first."""
    found = [
        Finding(
            check.id,
            Severity.named(sight.severity or check.severity),
            sight.message,
            sight.at if isinstance(sight.at, Span) else None,
            sight.at if isinstance(sight.at, str) else "",
            check.advisory if sight.advisory is None else sight.advisory,
            sight.hint,
        )
        for check in all_checks()
        for sight in check.look(survey)
    ]
    return sorted(found, key=lambda finding: (-finding.severity, finding.check, finding.place))


def finding_data(finding: Finding) -> dict[str, Any]:
    data: dict[str, Any] = {
        "check": finding.check,
        "severity": finding.severity.name.lower(),
        "message": finding.message,
        "place": finding.place,
    }
    if finding.span is not None:
        span = finding.span
        data |= {"file": span.source.name, "line": span.line, "column": span.column}
    if finding.advisory:
        data["advisory"] = finding.advisory
    if finding.hint:
        data["hint"] = finding.hint
    return data


#: SARIF knows four levels
LEVELS = {
    Severity.INFO: "note",
    Severity.LOW: "note",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "error",
}
#: GitHub sorts by this number
SCORES = {
    Severity.INFO: "0.1",
    Severity.LOW: "3.0",
    Severity.MEDIUM: "5.5",
    Severity.HIGH: "8.0",
    Severity.CRITICAL: "9.9",
}


def sarif(findings: Iterable[Finding], survey: Survey, version: str) -> dict[str, Any]:
    """SARIF 2.1.0, as code scanning services read it."""
    found = list(findings)
    known = {check.id: check for check in all_checks()}
    used = sorted({finding.check for finding in found})
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "templater",
                        "version": version,
                        "rules": [
                            {
                                "id": name,
                                "shortDescription": {"text": known[name].about},
                                "properties": {
                                    "security-severity": SCORES[Severity.named(known[name].severity)],
                                    "tags": ["security", *filter(None, [known[name].advisory])],
                                },
                            }
                            for name in used
                        ],
                    }
                },
                "results": [_sarif_result(finding, used, survey) for finding in found],
            }
        ],
    }


def _sarif_result(finding: Finding, rules: list[str], survey: Survey) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding, survey)}}
    if finding.span is not None:
        span = finding.span
        location["region"] = {"startLine": span.line, "startColumn": span.column}
    else:
        location["region"] = {"startLine": 1}
    advisory = f" ({finding.advisory})" if finding.advisory else ""
    return {
        "ruleId": finding.check,
        "ruleIndex": rules.index(finding.check),
        "level": LEVELS[finding.severity],
        "message": {"text": f"{finding.message}{advisory}"},
        "locations": [{"physicalLocation": location}],
    }


def _uri(finding: Finding, survey: Survey) -> str:
    from urllib.parse import quote

    path = finding.span.source.name if finding.span is not None else f"{survey.name}/{finding.where}"
    return quote(path.encode("utf-8", "surrogateescape"))
