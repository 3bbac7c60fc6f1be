"""What a daemon accepts in metadata.yaml and its author will regret."""

from __future__ import annotations

from collections.abc import Iterator

from . import Sight, Survey, check


@check("metadata", "low", "duplicate or unknown keys, unknown triggers, rules that are never due")
def look(survey: Survey) -> Iterator[Sight]:
    if survey.metadata is None:
        return
    for finding in survey.metadata.findings:
        severity = "medium" if finding.code == "duplicate-key" else ""
        yield Sight(finding.message, finding.span, severity=severity)
