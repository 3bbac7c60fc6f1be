"""A rule names a template that the image does not contain.

The daemons look for the template in the folder `templates`. If the template is missing, no instance of the
image starts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from ...model.entry import FILE
from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..typos import ClosestWords


@check(
    "missing-template",
    "error",
    "a rule whose template is missing",
    hint="put the template into the folder 'templates', next to metadata.yaml",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    if not image.complete:
        return
    closest, hints = ClosestWords(), hints_of(image)
    for rule in image.rules:
        if rule.null:
            yield Observation(
                f"the rule for '{printable(rule.path)}' is null: the daemons panic when they read it",
                rule.spans["path"],
                "remove the rule, or set its 'when' and 'template'",
                rule=rule,
            )
            continue
        at = rule.spans.get("template") or rule.spans["path"]
        file = image.templates.get(rule.template)
        if not rule.template:
            message = f"the rule for '{printable(rule.path)}' has no template"
            yield Observation(message, at, hints.get(rule.spans["path"].start, ""), rule=rule)
        elif "/" in rule.template or rule.template in (".", ".."):
            message = f"template name '{printable(rule.template)}' is not a plain file name: the start fails"
            yield Observation(message, at, "use the name of a file in the folder 'templates'", rule=rule)
        elif file is None:
            shown = printable(rule.template)
            message = f"template '{shown}' does not exist: the start fails"
            near = closest.find(rule.template, image.templates)
            hint = f"did you mean '{printable(near)}'?" if near else ""
            yield Observation(message, at, hint, rule=rule)
        elif file.entry is not None and file.entry.kind != FILE:
            message = f"template '{printable(rule.template)}' is a {file.entry.kind}: the start fails"
            yield Observation(message, at, "use a regular file", rule=rule)


def hints_of(image: AuthoredImage) -> dict[int, str]:
    """Return a dict of hints for the rules whose key ``template`` is misspelled.

    The dict maps the position of a rule in metadata.yaml to the rule's hint.
    """
    found = {}
    starts = sorted(rule.spans["path"].start for rule in image.rules)
    for each in image.metadata.findings if image.metadata is not None else ():
        number = bisect_right(starts, each.span.start)
        if number and each.code == "unknown-key" and "did you mean 'template'" in each.message:
            found[starts[number - 1]] = (
                f"the key '{printable(each.span.text)}' is misspelled: write 'template'"
            )
    return found
