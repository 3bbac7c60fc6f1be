"""A template compares `trigger` with a string.

In the daemons, `trigger` is not a string. So in pongo2, a comparison with `==` is always false, and with `!=`
always true. A filter such as `lower` converts the trigger to a string.

    {% if trigger == "start" %}            wrong: always false
    {% if trigger|lower == "start" %}      right
"""

from __future__ import annotations

from collections.abc import Iterator

from ...pongo2.syntax import tree
from ..authored_image import AuthoredImage
from ..base import Fix, Observation, check


@check(
    "trigger-comparison",
    "error",
    "a comparison of 'trigger' with a string: the result never changes",
    hint='write trigger|lower == "start"',
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for template in image.parsed:
        for node in template.every(tree.Operation):
            if node.operator not in ("==", "!=") or not any(map(is_trigger, node.operands)):
                continue
            if any(isinstance(side, tree.Literal) for side in node.operands):
                result = "false" if node.operator == "==" else "true"
                message = f"'trigger {node.operator} …' is always {result}: 'trigger' is not a string"
                ends = [template.span(side).end for side in node.operands if is_trigger(side)]
                edits = tuple((template.source.span(end, end), "|lower") for end in ends)
                yield Observation(message, template.span(node), fix=Fix(edits, unsafe=True))


def is_trigger(node: tree.Expression) -> bool:
    return isinstance(node, tree.Path) and node.text == "trigger" and len(node.parts) == 1
