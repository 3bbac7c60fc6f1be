"""A template reads a variable that no release of LXD or Incus provides.

The daemons render such a variable as empty text, without an error. The variables are `instance`,
`container`, `config`, `config_get`, `devices`, `properties`, `trigger` and `path`.

    {{ instnace.name }}     wrong: the file is empty
    {{ instance.name }}     right
"""

from __future__ import annotations

from collections.abc import Iterator

from ...pongo2.state import DAEMON_NAMES
from ..authored import AuthoredImage
from ..base import Fix, Observation, check
from ..names import UnknownName, mistakes
from ..typos import only_candidate


@check("unknown-variable", "error", "a variable that no host provides")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for found in mistakes(image):
        if "." not in found.name and found.name != "loop":
            message = f"{found.message}: it is always empty"
            yield Observation(message, found.span, found.hint, fix=corrected(found))


def corrected(found: UnknownName) -> Fix | None:
    """Return the fix of a misspelled name, unless the name is close to several known names."""
    bound = found.template.document.bound if found.template.document is not None else ()
    name = only_candidate(found.name, {*DAEMON_NAMES, *bound})
    return Fix(tuple((span, name) for span in found.spans)) if name else None
