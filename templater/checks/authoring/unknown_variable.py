"""A template reads a variable that no release of LXD or Incus provides.

The daemons render such a variable as empty text, without an error. The variables are `instance`,
`container`, `config`, `config_get`, `devices`, `properties`, `trigger` and `path`.

    {{ instnace.name }}     wrong: the file is empty
    {{ instance.name }}     right
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored import AuthoredImage
from ..base import Observation, check
from ..names import mistakes


@check("unknown-variable", "error", "a variable that no host provides")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for found in mistakes(image):
        if "." not in found.name and found.name != "loop":
            yield Observation(f"{found.message}: it is always empty", found.span, found.hint)
