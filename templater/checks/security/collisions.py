"""Rules that reach one file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...model.source import printable
from ...planning.resolve import resolve
from ..survey import Sight, Survey, check

if TYPE_CHECKING:
    from ...model.metadata import Rule


@check("collision", "medium", "two rules of one trigger that reach one file, or one is the other's folder")
def look(survey: Survey) -> Iterator[Sight]:
    """Sorted by where they lead, only neighbours can collide: an image of many rules stays cheap."""
    placed = sorted(
        ((resolve(survey.rootfs, path).real, rule) for rule, path in survey.targets),
        key=lambda pair: pair[0] + "/",
    )
    for (real, rule), (other_real, other) in neighbours(placed):
        if set(rule.when) & set(other.when):
            reach = "reach one file" if real == other_real else "need one name as file and as folder"
            yield Sight(
                f"'{printable(rule.path)}' and '{printable(other.path)}' {reach}: their order is random",
                other.spans["path"],
            )


Placed = tuple[str, "Rule"]


def neighbours(placed: list[Placed]) -> Iterator[tuple[Placed, Placed]]:
    """Pairs in a sorted list of which the first's path is the second's, or a folder of it."""
    for index, first in enumerate(placed):
        for second in placed[index + 1 :]:
            if not (second[0] + "/").startswith(first[0] + "/"):
                break
            yield first, second
