"""Templates that attack another template engine."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..base import Observation, ScannedImage, check

#: each tag up to its first brace or line break, so that no text is searched twice
TAG = re.compile(r"\{[{%][^}\n]*")
NAME = re.compile(r"__\w+__|\blipsum\b|\bcycler\b|\|[ \t]*attr\b|\bconfig\.items\b|\bnamespace\(")


@check(
    "python-names",
    "medium",
    "a template that reads Python's internal names: an attack on a Jinja2 renderer",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    """Harmless here and in the daemons, where no attribute of an object can be read, but never meant well."""
    for source in image.sources():
        for tag in TAG.finditer(source.text):
            found = NAME.search(source.text, tag.start(), tag.end())
            if found:
                name = found[0].strip()[:100]
                yield Observation(f"'{name}' attacks a Jinja2 renderer", source.span(*found.span()))
