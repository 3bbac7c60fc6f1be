"""Templates that are aimed at another engine."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..survey import Sight, Survey, check

NAME = re.compile(
    r"\{[{%][^}\n]*?(__\w+__|\blipsum\b|\bcycler\b|\|\s*attr\b|\bconfig\.items\b|\bnamespace\()"
)


@check(
    "python-names",
    "medium",
    "a template that reaches for Python's inner names: an attack on a Jinja2 renderer",
)
def look(survey: Survey) -> Iterator[Sight]:
    """Harmless here and in the daemons: no attribute of any object can be reached. Its author meant harm."""
    for source in survey.sources():
        for found in NAME.finditer(source.text):
            yield Sight(f"'{found[1].strip()}' is meant for a Jinja2 renderer", source.span(*found.span(1)))
