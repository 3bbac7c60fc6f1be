"""Conversion of findings to SARIF 2.1.0, the format of code scanning services."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

from ..model.source import Span
from .base import Check
from .finding import Finding, Severity
from .page_about_check import page
from .run_checks import all_checks

#: the SARIF level of each severity
LEVELS = {
    Severity.INFO: "note",
    Severity.LOW: "note",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "error",
}
#: the score of each severity; GitHub sorts results by this score
SCORES = {
    Severity.INFO: "0.1",
    Severity.LOW: "3.0",
    Severity.MEDIUM: "5.5",
    Severity.HIGH: "8.0",
    Severity.CRITICAL: "9.9",
}
#: number of hexadecimal digits in the fingerprint of a result
_DIGEST_LENGTH = 16


def uri_of(path: str) -> str:
    """Return a path's URI. The URI is relative if the path is below the working directory."""
    from urllib.parse import quote

    relative = os.path.relpath(path)
    if relative.split("/")[0] == "..":
        return "file://" + quote(os.fsencode(os.path.abspath(path)))
    return quote(os.fsencode(relative))


def sarif_document(
    findings: Iterable[Finding], name: str, version: str, uri: str, *, folder: str = "security"
) -> dict[str, Any]:
    """Return a SARIF document for the image with the path ``name`` and the URI ``uri``.

    ``folder`` is the folder of the checks below ``templater/checks``.
    """
    found = list(findings)
    known = {check.id: check for check in all_checks(folder)}
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
                            _rule(known[check], folder) if check in known else {"id": check} for check in used
                        ],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": list(_results(found, used, name, uri)),
            }
        ],
    }


def _rule(check: Check, folder: str) -> dict[str, Any]:
    severity = Severity.named(check.severity)
    if folder != "security":
        return {
            "id": check.id,
            "shortDescription": {"text": check.about},
            "fullDescription": {"text": f"{check.about}."},
            "help": {"text": page(check), "markdown": page(check)},
            "defaultConfiguration": {"level": LEVELS[severity]},
            "properties": {"tags": ["correctness"]},
        }
    about = f"{check.about}.{f' Related advisory: {check.advisory}.' if check.advisory else ''}"
    return {
        "id": check.id,
        "shortDescription": {"text": check.about},
        "fullDescription": {"text": about},
        "help": {"text": f"{about} Default severity: {severity.name.lower()}."},
        "defaultConfiguration": {"level": LEVELS[severity]},
        "properties": {
            "security-severity": SCORES[severity],
            "tags": ["security", *filter(None, [check.advisory])],
        },
    }


def _results(findings: list[Finding], rules: list[str], name: str, uri: str) -> Iterator[dict[str, Any]]:
    counts: Counter[str] = Counter()
    for finding in findings:
        advisory = f" ({finding.advisory})" if finding.advisory else ""
        hint = f"\nhint: {finding.hint}" if finding.hint else ""
        place = _place(finding, name, uri)
        # The fingerprint identifies a result in later runs, even if its line number changes.
        text = f"{place}\n{finding.check}\n{finding.message}".encode("utf-8", "surrogateescape")
        digest = sha256(text).hexdigest()[:_DIGEST_LENGTH]
        counts[digest] += 1
        yield {
            "ruleId": finding.check,
            "ruleIndex": rules.index(finding.check),
            "level": LEVELS[finding.severity],
            "message": {"text": f"{finding.message}{advisory}{hint}"},
            "locations": [
                {"physicalLocation": {"artifactLocation": {"uri": place}, "region": _region(finding.span)}}
            ],
            "partialFingerprints": {"primaryLocationLineHash": f"{digest}:{counts[digest]}"},
        }


def _region(span: Span | None) -> dict[str, int]:
    if span is None:
        return {"startLine": 1}
    span = span.origin
    end = span.source.span(max(span.start, span.end))
    return {
        "startLine": span.line,
        "startColumn": span.column,
        "endLine": end.line,
        "endColumn": end.column,
    }


def _place(finding: Finding, name: str, uri: str) -> str:
    """Return the URI of a finding's file, or the URI of the image if the file's name contains ``..``."""
    from urllib.parse import quote

    inside = finding.where if finding.span is None else finding.span.origin.source.name[len(name) :]
    parts = [part for part in inside.split("/") if part not in ("", ".")]
    # The name could lead out of the image.
    if ".." in parts:
        return uri
    names = [quote(part.encode("utf-8", "surrogateescape")) for part in parts]
    return "/".join((uri, *names)).removeprefix("./")
