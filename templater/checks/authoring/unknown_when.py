"""A rule has an unknown trigger, or no trigger at all.

The triggers are `create`, `copy`, `start` and `rename`. The daemons ignore every other word, so a
rule with only such words never writes its file.

    when: [boot]       wrong: never written
    when: [start]      right
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored import AuthoredImage
from ..base import Observation, check


@check(
    "unknown-when",
    "error",
    "a rule with an unknown trigger, or without a trigger",
    hint="use create, copy, start or rename",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for found in image.metadata.findings if image.metadata is not None else ():
        if found.code in ("unknown-trigger", "no-trigger"):
            yield Observation(found.message, found.span)
