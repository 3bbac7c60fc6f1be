"""Templates that close the wrapper in which the daemons render them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..survey import Sight, Survey, check

TAG = re.compile(r"\{%-?[ \t\r]*(end)?autoescape\b")


@check(
    "autoescape", "low", "a template that ends the daemons' own autoescape block and turns HTML escaping on"
)
def look(survey: Survey) -> Iterator[Sight]:
    for source in survey.sources():
        depth = 0
        for found in TAG.finditer(source.text):
            depth += -1 if found[1] else 1
            if depth < 0:
                yield Sight("closes the block in which the daemons render it", source.span(*found.span()))
                break
