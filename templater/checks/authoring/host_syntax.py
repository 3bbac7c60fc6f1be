"""A template compiles on one of the chosen hosts, and fails on another.

LXD and older releases of Incus have an older pongo2. For example, the older pongo2 has no subscripts:

    {{ config["user.x"] }}               not on LXD
    {{ config_get("user.x", "") }}       on every host

This check needs at least two hosts: `templater check --as incus,lxd IMAGE`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored import AuthoredImage
from ..base import Observation, check


@check("host-syntax", "error", "a construct that one of the chosen hosts lacks")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for template in image.parsed:
        if template.document is None:
            continue
        for dialect, error in template.errors.items():
            names = ", ".join(host.name for host in image.hosts if host.dialect == dialect)
            at = error.span or template.source.span(0)
            yield Observation(f"{error.message}: every start fails on {names}", at, error.hint)
