"""A configuration value can add a line to a file that has only one line.

The value of a key may contain line breaks. In a file such as `/etc/hostname`, everything after the first
line is wrong or has another meaning.

No filter of pongo2 removes line breaks. Use `instance.name`, or a file that allows several lines.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.source import printable
from ...pongo2.reads import config_key
from ...pongo2.syntax import tree
from ..authored import AuthoredImage
from ..base import Observation, check
from ..places import ONE_LINE
from ..security.line_injection import SAFE


@check("line-break", "warning", "a value that can add a line to a one-line file")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    paths = {id(rule): path for rule, path, _ in image.targets}
    for template in image.parsed:
        targets = [rule for rule in template.rules if paths.get(id(rule)) in ONE_LINE]
        for node in template.every(tree.Print) if targets else ():
            expression = node.expression
            filters = (
                {use.name for use in expression.filters} if isinstance(expression, tree.Filtered) else set()
            )
            atom = expression.atom if isinstance(expression, tree.Filtered) else expression
            if isinstance(atom, tree.Path) and config_key(atom) is not None and not filters & SAFE:
                yield Observation(
                    f"a line break in '{printable(config_key(atom) or '')}' adds a line to"
                    f" '{printable(targets[0].path)}'",
                    template.span(atom),
                    rule=targets[0],
                )
