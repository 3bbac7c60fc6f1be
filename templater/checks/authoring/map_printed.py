"""A template prints a whole map, such as `{{ devices }}` or `{{ instance }}`.

pongo2 prints a map in Go's own notation, such as `<config.Devices Value>`, which is useless in a file.

    {{ instance }}          wrong
    {{ instance.name }}     right
"""

from __future__ import annotations

from collections.abc import Iterator

from ...pongo2.syntax import tree
from ..authored_image import AuthoredImage
from ..base import Observation, check

MAPS = {"instance", "container", "config", "devices", "properties", "forloop"}


@check(
    "map-printed",
    "error",
    "a whole map inside {{ }}",
    hint="print one value of the map, or use {% for key, value in … sorted %}",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for template in image.parsed:
        bound = template.document.bound if template.document is not None else set()
        for node in template.every(tree.Print):
            path = node.expression
            if not isinstance(path, tree.Path) or path.name in bound:
                continue
            if len(path.parts) == 1 and path.name in MAPS:
                yield Observation(f"'{path.name}' is a map: its values are not printed", template.span(path))
            elif len(path.parts) == 2 and path.name == "devices" and path.parts[1].arguments is None:
                yield Observation(f"'{path.text}' is a map: its values are not printed", template.span(path))
