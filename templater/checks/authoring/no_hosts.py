"""A rule writes `/etc/hostname`, and no rule writes `/etc/hosts`.

Programs such as `sudo` look up the hostname. If `/etc/hosts` has no entry for the hostname, these programs
wait for the network. NixOS, OpenWrt and systems with `nss-myhostname` need no entry.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored_image import AuthoredImage
from ..base import Observation, check

#: systems that resolve their own name without /etc/hosts
RESOLVES = ("nixos", "openwrt", "fedora", "arch", "centos", "rocky", "alma", "oracle", "amazon")
MYHOSTNAME = "libnss_myhostname.so"


@check("no-hosts", "info", "a rule for /etc/hostname, but no rule for /etc/hosts")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    rule = image.target_paths.get("/etc/hostname")
    if rule is None or "/etc/hosts" in image.target_paths or image.metadata is None:
        return
    system = (
        image.metadata.properties.get("os", "").lower() + image.metadata.properties.get("name", "").lower()
    )
    resolves = any(name in system for name in RESOLVES)
    if not resolves and not any(MYHOSTNAME in name.path for name in image.names):
        yield Observation("no rule writes the hostname to '/etc/hosts'", rule.spans["path"], rule=rule)
