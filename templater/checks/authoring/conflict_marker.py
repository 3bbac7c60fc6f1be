"""A template contains the markers of a merge conflict, which git leaves in a file."""

from __future__ import annotations

from collections.abc import Iterator

from ..authored_image import AuthoredImage
from ..base import Observation, check

MARKS = ("<<<<<<< ", ">>>>>>> ")


@check("conflict-marker", "error", "a marker of a merge conflict in a template", hint="resolve the conflict")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for template in image.parsed:
        text = "\n" + template.source.text
        start = text.find(f"\n{MARKS[0]}")
        if start >= 0 and f"\n{MARKS[1]}" in text[start:]:
            span = template.source.span(start, start + 7)
            yield Observation("the template contains the markers of a merge conflict", span)
