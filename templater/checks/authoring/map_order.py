"""A loop over a map runs in random order.

Go visits the keys of a map in random order, so the lines of the file differ from start to start. The word
`sorted` in the loop gives a fixed order.

    {% for name, device in devices %}            random order
    {% for name, device in devices sorted %}     fixed order
"""

from __future__ import annotations

from collections.abc import Iterator

from ...pongo2.syntax import tree
from ..authored_image import AuthoredImage
from ..base import Fix, Observation, check
from ..target_kinds import kind_of

MAPS = {"config", "devices", "properties", "instance", "container"}


@check("map-order", "info", "a loop that reads a map in random order", hint="add 'sorted' to the loop")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    paths = {id(rule): path for rule, path, _ in image.targets}
    for template in image.parsed:
        ordered = any(
            kind_of(paths.get(id(rule), "")) in ("network-config", "netplan") for rule in template.rules
        )
        for node in template.every(tree.For):
            path = node.expression
            is_map = (
                isinstance(path, tree.Path)
                and path.name in MAPS
                and len(path.parts) <= (2 if path.name == "devices" else 1)
            )
            if is_map and not node.ordered and all(part.arguments is None for part in path.parts):
                end = path.parts[-1].token.span.end
                sort = Fix(((template.source.span(end, end), " sorted"),), unsafe=True)
                yield Observation(
                    f"'{path.text}' has no fixed order: the loop runs in random order",
                    template.span(path),
                    severity="warning" if ordered else "",
                    fix=None if node.reverse else sort,
                )
