"""A template renders as an empty file for every instance and trigger.

Often, all text of the template is inside an `if` whose condition is never true.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.source import printable
from ..authored_image import AuthoredImage
from ..base import Observation, check


@check("empty-output", "info", "a template that always gives an empty file")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    texts: dict[int, list[str]] = {}
    rules = {id(rule): rule for rule in image.rules}
    for file in image.texts(lambda path: True):
        texts.setdefault(id(file.rule), []).append(file.text or "")
    for number, found in texts.items():
        rule = rules[number]
        source = image.source(rule)
        if source is not None and source.text.strip() and not any(text.strip() for text in found):
            message = f"'{printable(rule.path)}' is always empty"
            yield Observation(message, source.span(0), rule=rule)
