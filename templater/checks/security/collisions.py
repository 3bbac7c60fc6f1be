"""Rules whose targets are one file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...model.source import printable
from ..base import Observation, ScannedImage, check

if TYPE_CHECKING:
    from ...model.metadata import Rule

Placed = tuple[str, "Rule"]


@check("collision", "medium", "two rules of one trigger that write one file, or one is the other's directory")
def check_image(image: ScannedImage) -> Iterator[Observation]:
    placed = sorted(
        ((resolved.real, rule) for rule, _, resolved in image.targets), key=lambda pair: pair[0] + "/"
    )
    for (real, rule), (other_real, other) in collisions(placed):
        problem = "write one file" if real == other_real else "need one name as a file and as a directory"
        yield Observation(
            f"'{printable(rule.path)}' and '{printable(other.path)}' {problem}: their order is random",
            other.spans["path"],
        )


def collisions(placed: list[Placed]) -> Iterator[tuple[Placed, Placed]]:
    """Yield each rule with the nearest earlier one of a common trigger that has its path or a parent's.

    ``placed`` is sorted, so that the parents of a path come before it: each trigger has a stack of them.
    """
    parents: dict[str, list[Placed]] = {}
    for pair in placed:
        found: dict[int, Placed] = {}
        for trigger in dict.fromkeys(pair[1].when):
            stack = parents.setdefault(trigger, [])
            while stack and not (pair[0] + "/").startswith(stack[-1][0] + "/"):
                stack.pop()
            if stack:
                found[id(stack[-1][1])] = stack[-1]
            stack.append(pair)
        for other in found.values():
            yield other, pair
