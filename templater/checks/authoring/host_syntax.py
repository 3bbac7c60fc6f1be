"""A template compiles on one of the chosen hosts, and fails on another.

LXD and the host `incus-debian` use pongo2 v4. The other releases of Incus use pongo2 v6. For example, v4 has
no subscripts. Use `config_get` for keys of the configuration, and a loop for keys of a device:

    {{ config["user.x"] }}               only with v6
    {{ config_get("user.x", "") }}       on every host

    {{ devices.eth0["ipv4.address"] }}   only with v6
    {% for k, v in devices.eth0 %}{% if k == "ipv4.address" %}{{ v }}{% endif %}{% endfor %}

This check needs at least two hosts: `templater check --as incus,lxd IMAGE`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored_image import AuthoredImage
from ..base import Observation, check


@check("host-syntax", "error", "a construct that one of the chosen hosts does not support")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for template in image.parsed:
        if template.document is None:
            continue
        for dialect, error in template.errors.items():
            names = ", ".join(host.name for host in image.hosts if host.dialect == dialect)
            at = error.span or template.source.span(0)
            yield Observation(f"{error.message}: every start fails on {names}", at, error.hint)
