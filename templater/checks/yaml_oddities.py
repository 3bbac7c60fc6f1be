"""What a daemon accepts in metadata.yaml and its author will regret."""

from __future__ import annotations

from collections.abc import Iterator

from . import Sight, Survey, check


@check("metadata", "low", "duplicate or unknown keys, unknown triggers, rules that are never due")
def look(survey: Survey) -> Iterator[Sight]:
    if survey.metadata is None:
        return
    for message, span in survey.metadata.findings:
        yield Sight(message, span, severity="medium" if "twice" in message or "duplicate" in message else "")
