"""A template reads a configuration key that looks misspelled, or that no host accepts.

The daemons accept only known keys and keys that begin with `user.`. A misspelled key is never set, so the
template always uses the default.

    {{ config_get("user.userdata", "") }}      wrong
    {{ config_get("user.user-data", "") }}     right
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.source import printable
from ..authored import AuthoredImage
from ..base import Observation, check

KNOWN = (
    "boot.autostart", "cloud-init.network-config", "cloud-init.user-data", "cloud-init.vendor-data",
    "cloud-init.ssh-keys.", "image.architecture", "image.description", "image.name", "image.os",
    "image.release", "image.serial", "image.type", "image.variant", "limits.cpu", "limits.memory",
    "security.nesting", "security.privileged", "user.meta-data", "user.network-config", "user.user-data",
    "user.vendor-data",
)  # fmt: skip
#: prefixes of the keys that hosts accept
SPACES = (
    "agent.", "boot.", "cloud-init.", "cluster.", "environment.", "image.", "limits.", "linux.", "lxc.",
    "migration.", "nvidia.", "oci.", "placement.", "raw.", "security.", "smbios11.", "snapshots.", "systemd.",
    "ubuntu_pro.", "user.", "volatile.",
)  # fmt: skip


@check("config-key", "warning", "a configuration key that is close to a known key, or that no host accepts")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    read_keys = image.keys
    seen: set[tuple[str, str]] = set()
    for template in image.parsed:
        for read in template.reads:
            key = read.key
            if key is None or key in KNOWN or (template.name, key) in seen or len(key) > 200:
                continue
            seen.add((template.name, key))
            near = next((known for known in KNOWN if differ_by_one(key, known)), "")
            if near and near not in read_keys:
                yield Observation(
                    f"configuration key '{printable(key)}' is close to '{near}'",
                    read.span,
                    f"did you mean '{near}'?",
                )
            elif (
                not near
                and not key.startswith(SPACES)
                and (key == "" or "." not in key or read.path[0] == "config_get")
            ):
                yield Observation(
                    f"no host accepts a configuration key '{printable(key)}', so it is never set",
                    read.span,
                    f"did you mean 'user.{printable(key)}'?",
                )


def differ_by_one(a: str, b: str) -> bool:
    """Return whether one edit turns ``a`` into ``b``: a character inserted, removed, replaced or swapped."""
    if a == b or abs(len(a) - len(b)) > 1:
        return False
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    rest_a, rest_b = a[start:], b[start:]
    swapped = rest_a[:2] == rest_b[1::-1] and rest_a[2:] == rest_b[2:]
    return swapped or rest_b in (rest_a[1:],) or rest_a == rest_b[1:] or rest_a[1:] == rest_b[1:]
