"""The builds of a definition, for commands that show all builds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..model.errors import UsageError
from ..model.source import printable

if TYPE_CHECKING:
    from ..definitions.choice import Choice
    from ..limit_option import Given


def builds(path: str, choice: Choice, limits: Given) -> Iterator[Choice]:
    """Yield a ``Choice`` for each build of a definition.

    Raises UsageError if ``path`` is not a definition, and LimitError if all builds together take too long.
    """
    from ..definitions.all_builds import all_choices, in_time
    from ..definitions.detect import is_definition

    if not is_definition(path):
        raise UsageError(f"--all-variants is for definitions, and '{printable(path)}' is not one")
    yield from in_time(all_choices(path, choice, limits.for_images()), limits.rendering.get("total"))
