"""A check for templates that close the autoescape block in which the daemons render every template."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..base import Observation, check
from ..scanned_image import ScannedImage

TAG = re.compile(r"\{%-?[ \t\r]*(end)?autoescape\b")


@check(
    "autoescape",
    "low",
    "a template that turns HTML escaping on by closing the daemons' own autoescape block",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    for source in image.sources():
        depth = 0
        for found in TAG.finditer(source.text):
            depth += -1 if found[1] else 1
            if depth < 0:
                yield Observation(
                    "this tag closes the autoescape block in which the daemons render the template",
                    source.span(*found.span()),
                )
                break
