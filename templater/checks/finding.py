"""What can be seen of an image without running it, judged: findings with severity, place and advisory."""

from __future__ import annotations

import pkgutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from importlib import import_module
from typing import Any

from ..model.source import Span, printable
from . import security
from .survey import Check, Survey


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
    for module in sorted(found.name for found in pkgutil.iter_modules(security.__path__)):
        for value in vars(import_module(f"{security.__name__}.{module}")).values():
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
    return sorted(found, key=lambda finding: (-finding.severity, finding.check, *_position(finding)))


def _position(finding: Finding) -> tuple[str, int, int]:
    span = finding.span
    return (finding.place, 0, 0) if span is None else (span.source.name, span.line, span.column)


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


def sarif(findings: Iterable[Finding], survey: Survey, version: str, image: str) -> dict[str, Any]:
    """SARIF 2.1.0, as code scanning services read it. ``image`` is the URI of the image that was surveyed."""
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
                        "rules": [_sarif_rule(known[name]) for name in used],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": list(_sarif_results(found, used, survey, image)),
            }
        ],
    }


def _sarif_rule(check: Check) -> dict[str, Any]:
    severity = Severity.named(check.severity)
    about = f"{check.about}.{f' It resembles {check.advisory}.' if check.advisory else ''}"
    return {
        "id": check.id,
        "shortDescription": {"text": check.about},
        "fullDescription": {"text": about},
        "help": {"text": f"{about} Severity: {severity.name.lower()}, unless a result says otherwise."},
        "defaultConfiguration": {"level": LEVELS[severity]},
        "properties": {
            "security-severity": SCORES[severity],
            "tags": ["security", *filter(None, [check.advisory])],
        },
    }


def _sarif_results(
    findings: list[Finding], rules: list[str], survey: Survey, image: str
) -> Iterator[dict[str, Any]]:
    seen: Counter[str] = Counter()
    for finding in findings:
        advisory = f" ({finding.advisory})" if finding.advisory else ""
        hint = f"\nhint: {finding.hint}" if finding.hint else ""
        uri = _uri(finding, survey, image)
        # what tells a result from its likes in the next run, when lines may have moved
        digest = sha256(
            f"{uri}\n{finding.check}\n{finding.message}".encode("utf-8", "surrogateescape")
        ).hexdigest()[:16]
        seen[digest] += 1
        yield {
            "ruleId": finding.check,
            "ruleIndex": rules.index(finding.check),
            "level": LEVELS[finding.severity],
            "message": {"text": f"{finding.message}{advisory}{hint}"},
            "locations": [
                {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": _region(finding.span)}}
            ],
            "partialFingerprints": {"primaryLocationLineHash": f"{digest}:{seen[digest]}"},
        }


def _region(span: Span | None) -> dict[str, int]:
    if span is None:
        return {"startLine": 1}
    end = span.source.span(max(span.start, span.end))
    return {
        "startLine": span.line,
        "startColumn": span.column,
        "endLine": end.line,
        "endColumn": end.column,
    }


def _uri(finding: Finding, survey: Survey, image: str) -> str:
    from urllib.parse import quote

    inside = finding.where if finding.span is None else finding.span.source.name[len(survey.name) :]
    parts = [part for part in inside.split("/") if part not in ("", ".")]
    if ".." in parts:
        return image  # a member's name may lead out of its image: the place of a finding does not
    names = [quote(part.encode("utf-8", "surrogateescape")) for part in parts]
    return "/".join((image, *names)).removeprefix("./")
