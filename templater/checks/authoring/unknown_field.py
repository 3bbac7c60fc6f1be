"""A template reads a field that a known variable does not have.

The daemons render an unknown field as empty text, without an error. `instance` and `container` have the
fields `name`, `type`, `architecture`, `ephemeral` and, for containers, `privileged`.

    {{ instance.hostname }}     wrong: no such field
    {{ instance.name }}         right
"""

from __future__ import annotations

from collections.abc import Iterator

from ...rendering.unknown_names import MEMBERS
from ..authored_image import AuthoredImage
from ..base import Fix, Observation, check
from ..typos import only_candidate
from ..unknown_names_by_template import mistakes


@check("unknown-field", "error", "a field that a known variable does not have")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for found in mistakes(image):
        root, dot, field = found.name.partition(".")
        if dot and root not in ("config", "properties"):
            name = only_candidate(field, MEMBERS[root])
            fix = Fix(tuple((span, name) for span in found.spans)) if name else None
            yield Observation(f"{found.message}: it is always empty", found.span, found.hint, fix=fix)
