"""Targets that lead out of the root filesystem by their text alone."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import TemplaterError
from ...model.source import printable
from ...planning.resolve import clean
from ..survey import Sight, Survey, check


@check(
    "target-outside",
    "critical",
    "a target that leaves the root filesystem, is the root itself, or that no kernel takes",
    "CVE-2026-23954",
)
def look(survey: Survey) -> Iterator[Sight]:
    for rule in survey.rules:
        at = rule.spans["path"]
        try:
            clean(rule.path)
        except TemplaterError as error:
            if "leaves" in error.message:
                yield Sight(error.message, at, error.hint)
            else:
                yield Sight(error.message, at, error.hint, severity="medium", advisory="")
        if any(not character.isprintable() for character in rule.path.replace("\0", "")):
            message = f"target path '{printable(rule.path)}' holds unprintable characters"
            yield Sight(message, at, severity="low", advisory="")
