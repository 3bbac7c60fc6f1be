"""A template reads a property that its rule does not define.

The daemons render such a property as empty text, without an error. A rule in metadata.yaml defines its
properties:

    {{ properties.domain }}                    in the template
    properties: {domain: example.org}          in the template's rule
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ...pongo2.syntax import tree
from ..authored_image import AuthoredImage
from ..base import Fix, Observation, check
from ..typos import ClosestWords, only_candidate


@check("missing-property", "warning", "a property that the template reads and the rule does not define")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    closest = ClosestWords()
    for template in image.parsed:
        seen: set[str] = set()
        printed = {text_of(node.expression) for node in template.every(tree.Print)}
        reads = [read for read in template.reads if read.path[0] == "properties" and len(read.path) == 2]
        names = {read.path[1] for read in reads}
        for read in reads:
            name = read.path[1]
            without = [rule for rule in template.rules if name not in rule.properties]
            if name in seen or not without:
                continue
            seen.add(name)
            others = set(without[0].properties) - names
            near = closest.find(name, others)
            only = only_candidate(name, others) if len(without) == len(template.rules) else ""
            spans = [each.spans[1] for each in reads if each.path[1] == name]
            yield Observation(
                f"the rule for '{printable(without[0].path)}' has no property '{printable(name)}': "
                "the template gets an empty value",
                read.span,
                f"did you mean '{printable(near)}'?"
                if near
                else f"add 'properties: {{{printable(name)}: …}}' to the rule in metadata.yaml",
                severity="" if near or only or read.name in printed else "info",
                rule=without[0],
                fix=Fix(tuple((span, only) for span in spans)) if only else None,
            )


def text_of(node: object) -> str:
    """Return the variable that an expression prints, or "" if the expression is not just a variable.

    The check reports only printed variables. Elsewhere, a missing property can be intended, for example as
    the empty default of ``config_get``.
    """
    return node.text if isinstance(node, tree.Path) and node.parts[-1].arguments is None else ""
