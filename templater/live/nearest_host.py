"""Choice of the supported release (host) whose behaviour is nearest to a daemon's version."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ..model.hosts import HOSTS, Host
from ..model.unprintable_characters import printable

#: The releases in docs/hosts.md: the family, the host, and the first and last version that the host predicts.
_EXACT: tuple[tuple[str, str, tuple[int, ...], tuple[int, ...]], ...] = (
    ("incus", "incus", (7, 0, 1), (7, 3, 999)),
    ("incus", "incus-6.0", (6, 0, 6), (6, 0, 999)),
    ("incus", "incus-6.0", (6, 21), (6, 22, 999)),
    ("incus", "incus-6.0.4", (6, 0, 4), (6, 0, 4)),
    ("incus", "incus-6.0.4", (6, 10), (6, 20, 999)),
    ("lxd", "lxd", (6, 9), (6, 9, 999)),
    ("lxd", "lxd", (5, 21, 5), (5, 21, 999)),
    ("lxd", "lxd", (5, 0, 7), (5, 0, 999)),
    ("lxd", "lxd-6.7", (6, 7), (6, 7, 999)),
    ("lxd", "lxd-6.7", (5, 0, 6), (5, 0, 6)),
    ("lxd", "lxd-5.21.4", (5, 21, 4), (5, 21, 4)),
    ("lxd", "lxd-5.21.4", (5, 0, 5), (5, 0, 5)),
    ("lxd", "lxd-5.21.4", (6, 0), (6, 6, 999)),
)
#: Hosts for all other releases, as pairs of a version and a host. A release gets the host of the first pair
#: whose version is newer than the release. A release newer than all pairs gets the family's newest host.
_NEAREST = {
    "incus": (((6, 21), "incus-6.0.4"), ((7, 0, 1), "incus-6.0")),
    "lxd": (
        ((5, 0, 6), "lxd-5.21.4"),
        ((5, 21, 5), "lxd-5.21.4"),
        ((6, 7), "lxd-5.21.4"),
        ((6, 9), "lxd-6.7"),
    ),
}
#: Debian's packages differ from the releases with the same version
_DEBIAN = {("incus", "6.0.4"): "incus-debian", ("lxd", "5.0.2"): "lxd-debian"}


class Nearest(NamedTuple):
    """The supported release (host) to predict, and a sentence that explains the choice to the user."""

    host: Host
    text: str


def nearest_host(family: str, environment: dict[str, Any]) -> Nearest:
    """Return the supported release that is nearest to a daemon's release.

    ``environment`` is from the daemon's answer to ``GET /1.0``.
    """
    version = str(environment.get("server_version") or "")
    system = str(environment.get("os_name") or "")
    title = f"{'LXD' if family == 'lxd' else 'Incus'} {printable(version[:50]) or 'of an unknown version'}"
    numbers = tuple(int(number) for number in re.findall(r"\d{1,6}", version)[:3])
    packaged = _DEBIAN.get((family, version))
    if packaged and system.startswith("Debian"):
        return Nearest(HOSTS[packaged], f"predicting {packaged}: the daemon is {title} on Debian (see --as)")
    for product, name, first, last in _EXACT:
        if product == family and first <= numbers <= last:
            return Nearest(HOSTS[name], f"predicting {name}: the daemon is {title} (see --as)")
    nearest = next((name for end, name in _NEAREST[family] if numbers and numbers < end), family)
    why = (
        "newer than every release that templater knows"
        if nearest == family
        else "which templater does not know"
    )
    text = f"predicting {nearest}, the nearest known release: the daemon is {title}, {why} (see --as)"
    return Nearest(HOSTS[nearest], text)
