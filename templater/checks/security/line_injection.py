"""Values that can add lines to a configuration file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..survey import Sight, Survey, check

VALUE = re.compile(r"\{\{-?[^\n}]*\b(?:config_get\(|config[.\[])[^\n}]*\}\}")
#: filters after which no line break is left, or it is harmless
SAFE = re.compile(r"\|\s*(?:integer|float|length|yesno|addslashes|urlencode|slugify|escapejs|cut:\"\\n\")")


@check(
    "line-injection",
    "info",
    "a configuration value inside a line of a file: a line break in it adds lines",
    "CVE-2026-23953",
)
def look(survey: Survey) -> Iterator[Sight]:
    """A value that stands alone on its line is a document of its own, such as cloud-init's."""
    for source in survey.sources():
        for found in VALUE.finditer(source.text):
            start = source.text.rfind("\n", 0, found.start()) + 1
            before = re.sub(r"\{[%#].*?[%#]\}", "", source.text[start : found.start()])
            if before.strip() and not SAFE.search(found[0]):
                yield Sight("a line break in this value adds a line to the file", source.span(*found.span()))
