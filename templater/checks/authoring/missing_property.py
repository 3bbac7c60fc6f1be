"""A template reads a property that a rule does not define.

The value of `properties.x` comes from `properties` of the rule in metadata.yaml. If the rule does not
define `x`, the value is empty.

    {{ properties.domain }}                    in the template
    properties: {domain: example.org}          in the template's rule in metadata.yaml
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.source import printable
from ...pongo2.syntax import tree
from ..authored import AuthoredImage
from ..base import Observation, check


@check("missing-property", "warning", "a property that a rule does not define")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for template in image.parsed:
        seen: set[str] = set()
        printed = {text_of(node.expression) for node in template.every(tree.Print)}
        for read in template.reads:
            if read.path[0] != "properties" or len(read.path) != 2 or read.path[1] in seen:
                continue
            seen.add(read.path[1])
            without = [rule for rule in template.rules if read.path[1] not in rule.properties]
            if without:
                name = printable(read.path[1])
                path = printable(without[0].path)
                yield Observation(
                    f"the rule for '{path}' has no property '{name}': its value is empty",
                    read.span,
                    f"add 'properties: {{{name}: …}}' to the rule in metadata.yaml",
                    severity="" if read.name in printed else "info",
                    rule=without[0],
                )


def text_of(node: object) -> str:
    """Return the variable that an expression prints, or "" for any other expression.

    For example, authors use a missing property on purpose as an empty default of ``config_get``.
    """
    return node.text if isinstance(node, tree.Path) and node.parts[-1].arguments is None else ""
