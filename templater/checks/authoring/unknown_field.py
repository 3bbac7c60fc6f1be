"""A template reads a field that a known variable does not have.

The daemons render such a field as empty text, without an error. `instance` and `container` have the
fields `name`, `type`, `architecture`, `ephemeral` and, for containers, `privileged`.

    {{ instance.hostname }}     wrong: no such field
    {{ instance.name }}         right
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored import AuthoredImage
from ..base import Observation, check
from ..names import mistakes


@check("unknown-field", "error", "a field that a known variable does not have")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for found in mistakes(image):
        root, dot, _ = found.name.partition(".")
        if dot and root not in ("config", "properties"):
            yield Observation(f"{found.message}: it is always empty", found.span, found.hint)
