"""Template names that are no plain file names."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import RefusedError
from ...rendering.render import check_name
from ..survey import Sight, Survey, check


@check(
    "template-name",
    "critical",
    "a template named by a path: old daemons read it wherever it leads, on the host too",
    "CVE-2026-23954",
)
def look(survey: Survey) -> Iterator[Sight]:
    for rule in survey.rules:
        if rule.null:
            continue
        try:
            check_name(rule)
        except RefusedError as error:
            at = rule.spans.get("template") or rule.spans["entry"]
            if rule.template:
                yield Sight(error.message, at, error.hint)
            else:
                yield Sight(error.message, at, error.hint, severity="medium", advisory="")
