"""A check for rules that write the same path, or a path below another rule's path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...model.unprintable_characters import printable
from ..base import Observation, check
from ..scanned_image import ScannedImage

if TYPE_CHECKING:
    from ...model.metadata import Rule
    from ..authored_image import AuthoredImage

Placed = tuple[str, "Rule"]


@check(
    "collision",
    "medium",
    "two rules with the same trigger that write the same file,"
    " or use one path both as a file and as a directory",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    for other, message in colliding_rules(image):
        yield Observation(message, other.spans["path"])


def colliding_rules(image: ScannedImage | AuthoredImage) -> Iterator[tuple[Rule, str]]:
    """Yield each rule that collides with an earlier rule of its trigger, and a message about both rules."""
    placed = sorted(
        ((resolved.real, rule) for rule, _, resolved in image.targets), key=lambda pair: pair[0] + "/"
    )
    for (real, rule), (other_real, other) in collisions(placed):
        names = f"'{printable(rule.path)}' and '{printable(other.path)}'"
        same = f"{names} write the same file"
        problem = same if real == other_real else f"{names} need one path to be both a file and a directory"
        yield other, f"{problem}: the daemons run these rules in random order"


def collisions(placed: list[Placed]) -> Iterator[tuple[Placed, Placed]]:
    """Yield pairs of rules that share a trigger, and whose paths are equal or parent and child.

    For each trigger, pair a rule only with the earlier rule of the same path, or else of the nearest parent.
    ``placed`` must be sorted by ``path + "/"``.
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
