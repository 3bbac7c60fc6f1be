"""Templates that end the autoescape block around them, in which the daemons render them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..base import Observation, ScannedImage, check

TAG = re.compile(r"\{%-?[ \t\r]*(end)?autoescape\b")


@check(
    "autoescape", "low", "a template that ends the daemons' own autoescape block and turns HTML escaping on"
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    for source in image.sources():
        depth = 0
        for found in TAG.finditer(source.text):
            depth += -1 if found[1] else 1
            if depth < 0:
                yield Observation(
                    "ends the autoescape block in which the daemons render it", source.span(*found.span())
                )
                break
