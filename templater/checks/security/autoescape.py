"""A check for templates that close the autoescape block in which the daemons render every template."""

from __future__ import annotations

from collections.abc import Iterator

from ...pongo2.syntax.tokens import Token
from ..base import Observation, check
from ..scanned_image import ScannedImage
from ..template_tokens import Part, readings_of


@check(
    "autoescape",
    "low",
    "a template that closes the daemons' own autoescape block, and thereby turns on HTML escaping",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    for source in image.sources():
        closing = next(filter(None, map(_closing_tag, readings_of(source))), None)
        if closing:
            yield Observation(
                "this tag closes the autoescape block in which the daemons render the template",
                source.span(closing[0].start, closing[1].end),
            )


def _closing_tag(parts: list[Part]) -> list[Token] | None:
    depth = 0
    for kind, part in parts:
        depth += (kind == "autoescape") - (kind == "endautoescape")
        if depth < 0:
            return part
    return None
