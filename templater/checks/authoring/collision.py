"""Two rules of one trigger write the same file, or need one path as a file and as a directory.

The daemons run the rules of a trigger in random order, so the result differs from start to start.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.source import printable
from ..authored import AuthoredImage
from ..base import Observation, check
from ..security.collisions import collisions


@check(
    "collision",
    "error",
    "two rules of one trigger that write the same file",
    hint="give the rules different targets or triggers",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    placed = sorted(
        ((resolved.real, rule) for rule, _, resolved in image.targets), key=lambda pair: pair[0] + "/"
    )
    for (real, rule), (other_real, other) in collisions(placed):
        problem = "write the same file" if real == other_real else "need the same path as file and directory"
        yield Observation(
            f"'{printable(rule.path)}' and '{printable(other.path)}' {problem}: they run in random order",
            other.spans["path"],
            rule=other,
        )
