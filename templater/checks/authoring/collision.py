"""Two rules with the same trigger write the same file, or one rule's target is below the other rule's target.

The daemons run the rules of a trigger in random order, so the result differs from start to start.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..security.collisions import colliding_rules


@check(
    "collision",
    "error",
    "two rules with the same trigger that write the same file",
    hint="give the rules different targets or triggers",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for other, message in colliding_rules(image):
        yield Observation(message, other.spans["path"], rule=other)
