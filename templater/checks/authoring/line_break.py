"""A configuration value can add a second line to a file that should have only one line.

Programs can disagree about the second line. For example, BusyBox takes the last line of `/etc/hostname` as
the hostname, and Debian takes the first line.

For the name of the instance, write `instance.name`, which has no line break. For other values, use filters
that keep only the first line on every host:

    {{ config_get("user.name", "") }}                                          wrong
    {{ config_get("user.name", "")|linebreaksbr|split:"<br />"|first }}        right

`linebreaksbr` replaces each line break with `<br />`. Values with filters such as `integer`, `urlencode`,
`escapejs` or `stringformat:"%q"` have no line break, and are not reported.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ...pongo2.names_read import config_key
from ...pongo2.syntax import tree
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..security.line_injection import removes_line_breaks
from ..target_kinds import ONE_LINE


@check(
    "line-break",
    "warning",
    "a value that can add a line to a one-line file",
    hint='use the filters `|linebreaksbr|split:"<br />"|first` to keep only the first line',
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    paths = {id(rule): path for rule, path, _ in image.targets}
    for template in image.parsed:
        targets = [rule for rule in template.rules if paths.get(id(rule)) in ONE_LINE]
        for node in template.every(tree.Print) if targets else ():
            expression = node.expression
            filtered = expression if isinstance(expression, tree.Filtered) else None
            atom = expression if filtered is None else filtered.atom
            safe = filtered is not None and any(map(is_safe, filtered.filters))
            if isinstance(atom, tree.Path) and config_key(atom) is not None and not safe:
                yield Observation(
                    f"a line break in '{printable(config_key(atom) or '')}' adds a line to"
                    f" '{printable(targets[0].path)}'",
                    template.span(atom),
                    rule=targets[0],
                )


def is_safe(use: tree.FilterUse) -> bool:
    argument = use.argument.value if isinstance(use.argument, tree.Literal) else None
    return removes_line_breaks(use.name, argument)
