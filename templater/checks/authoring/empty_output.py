"""A template renders as an empty file for every instance and trigger.

Often, all text of the template is inside an `if` whose condition is never true.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Observation, check


@check("empty-output", "info", "a template that always gives an empty file")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    empty: dict[int, bool] = {}
    rules = {id(rule): rule for rule in image.rules}
    blank: dict[str, bool] = {}  # templates without text, by name
    for file in image.texts(lambda path: True):
        empty[id(file.rule)] = empty.get(id(file.rule), True) and not (file.text or "").strip()
    for number in (number for number, is_empty in empty.items() if is_empty):
        rule = rules[number]
        source = image.source(rule)
        if source is not None and rule.template not in blank:
            blank[rule.template] = not source.text.strip()
        if source is not None and not blank[rule.template]:
            message = f"'{printable(rule.path)}' is always empty"
            yield Observation(message, source.span(0), rule=rule)
