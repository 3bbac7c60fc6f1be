"""A template reads a configuration key as `config.user.x`.

The dots are part of the key's name. For `config.user.x`, the daemons look up a key `user`, which does not
exist, so the value is always empty.

    {{ config.user.color }}                    wrong
    {{ config_get("user.color", "") }}         right
"""

from __future__ import annotations

from collections.abc import Iterator

from ...rendering.unknown_names import called_with
from ..authored_image import AuthoredImage
from ..base import Fix, Observation, check
from ..unknown_names_by_template import mistakes


@check("config-dots", "error", "a configuration key that is written with dots, as in config.user.x")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for found in mistakes(image):
        if found.name.startswith("config."):
            key = found.name.removeprefix("config.")
            edits = tuple((span, f'config_get("{key}", "")') for span in found.spans)
            called = key == "get" and all("," in called_with(span) for span in found.spans)
            if called:
                edits = tuple((span, "config_get") for span in found.spans)
            fix = Fix(edits) if called or "." in key else None
            yield Observation(f"{found.message}: it is always empty", found.span, found.hint, fix=fix)
