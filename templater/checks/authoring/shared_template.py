"""Two entries of a definition write the same template file, or one entry replaces the rule of another.

The name of an entry is the name of its template file. If two entries have the same name, both rules use the
content of the last entry. If two entries have the same path, only the rule of the last entry exists.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Observation, check


@check(
    "shared-template", "warning", "in a definition, an entry that replaces another entry's template or rule"
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    if image.definition is None:
        return
    names: dict[str, tuple[int, str]] = {}
    paths: dict[str, int] = {}
    for rule in image.definition.results.made:
        entry = rule.entry
        line = entry.span("generator").line
        first = paths.setdefault(entry.path, line)
        if first != line:
            yield Observation(
                f"this entry replaces the rule for '{printable(entry.path)}' of the entry in line {first}",
                entry.span("path", "name", "generator"),
                "remove one of the entries, or limit them with filters",
            )
            continue
        before, content = names.setdefault(rule.template, (line, entry.content))
        if before != line and content != entry.content and entry.generator in ("template", "cloud-init"):
            yield Observation(
                f"this entry and the entry in line {before} share the template '{printable(rule.template)}':"
                " both rules use the content of this entry",
                entry.span("name", "generator"),
                "give each entry its own name",
            )
