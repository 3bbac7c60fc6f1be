"""What a daemon accepts in metadata.yaml and its author will regret."""

from __future__ import annotations

from collections.abc import Iterator

from ..survey import Sight, Survey, check


@check("metadata", "low", "missing facts, duplicate or unknown keys and triggers, rules that are never due")
def look(survey: Survey) -> Iterator[Sight]:
    if survey.metadata is None:
        return
    for finding in survey.metadata.findings:
        severity = "medium" if finding.code == "duplicate-key" else ""
        yield Sight(finding.message, finding.span, severity=severity)
    source = survey.metadata.source
    if source is None or survey.metadata.null:
        return
    for fact in ("architecture", "creation_date"):
        if not getattr(survey.metadata, fact):
            missing = f"metadata.yaml has no {fact}: the daemons refuse such an image"
            yield Sight(missing, source.span(0), severity="medium")
