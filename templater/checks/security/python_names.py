"""A check for templates that attack Jinja2, a different template engine."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..base import Observation, check
from ..scanned_image import ScannedImage

#: A match ends at the first closing brace or line break, so the search takes linear time.
TAG = re.compile(r"\{[{%][^}\n]*")
NAME = re.compile(r"__\w+__|\blipsum\b|\bcycler\b|\|[ \t]*attr\b|\bconfig\.items\b|\bnamespace\(")


@check(
    "python-names",
    "medium",
    "a template that uses Python's internal names, as attacks on Jinja2 do",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    """Find names that attacks on Jinja2 use.

    Python's internal names have no effect in templater and the daemons. No legitimate template contains them,
    so they are a sign of an attack.
    """
    for source in image.sources():
        for tag in TAG.finditer(source.text):
            found = NAME.search(source.text, tag.start(), tag.end())
            if found:
                name = found[0].strip()[:100]
                yield Observation(f"'{name}' is part of attacks on Jinja2", source.span(*found.span()))
