"""Templates that are missing, or something else than files of the image."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.entry import FILE, SYMLINK
from ...model.source import printable
from ..survey import Sight, Survey, check


@check(
    "template-file",
    "medium",
    "a template that is missing, a symlink, a special file or shares its content with another name",
)
def look(survey: Survey) -> Iterator[Sight]:
    used = {rule.template: rule for rule in reversed(survey.rules) if rule.template}
    for name, rule in used.items():
        if survey.complete and "/" not in name and survey.templates.get(name) is None:
            at = rule.spans.get("template") or rule.spans["path"]
            yield Sight(f"template '{printable(name)}' is not in the image: the start fails", at)
    for name, file in sorted(survey.templates.items()):
        place, entry = f"templates/{name}", file.entry
        if entry is None:
            continue
        if entry.kind == SYMLINK:
            target = printable(entry.target)
            yield Sight(f"the template is a symlink to '{target}'", place, "", "critical", "CVE-2026-23954")
        elif entry.kind != FILE:
            yield Sight(f"the template is a {entry.kind}: reading it may never end", place, severity="high")
        elif entry.nlink > 1:
            yield Sight("the template has a second name on this file system", place, severity="low")
        if entry.kind == FILE and file.error is not None:
            yield Sight(file.error.message, place, file.error.hint, severity="high")
