"""The keys that netplan accepts. cloud-init's network configuration in version 2 has the same keys.

The list of keys comes from netplan's parser, src/parse.c of July 2026.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..model.unprintable_characters import printable
from ..parsing.yaml_nodes import Mapping, pairs
from ..pongo2.syntax.hints import did_you_mean

if TYPE_CHECKING:
    from ..parsing.yaml_nodes import Node
    from .mistakes_in_files import Mistake

COMMON = frozenset((
    "accept-ra", "activation-mode", "addresses", "critical", "dhcp-identifier", "dhcp4", "dhcp4-overrides",
    "dhcp6", "dhcp6-overrides", "gateway4", "gateway6", "hairpin", "ignore-carrier",
    "ipv6-address-generation", "ipv6-address-token", "ipv6-mtu", "ipv6-privacy", "link-local", "macaddress",
    "mtu", "nameservers",
    "neigh-suppress", "networkmanager", "openvswitch", "optional", "optional-addresses", "port-mac-learning",
    "ra-overrides", "renderer", "routes", "routing-policy",
))  # fmt: skip
PHYSICAL = COMMON | {
    "emit-lldp", "generic-receive-offload", "generic-segmentation-offload", "large-receive-offload", "match",
    "receive-checksum-offload", "set-name", "tcp-segmentation-offload", "tcp6-segmentation-offload",
    "transmit-checksum-offload", "wakeonlan", "wakeonwlan",
}  # fmt: skip
#: the keys of an interface, by the mapping that contains the interface
INTERFACES = {
    "bonds": COMMON | {"interfaces", "parameters"},
    "bridges": COMMON | {"interfaces", "parameters"},
    "dummy-devices": COMMON,
    "ethernets": PHYSICAL | {
        "auth", "delay-virtual-functions-rebind", "embedded-switch-mode", "infiniband-mode", "link",
        "virtual-function-count",
    },
    "modems": PHYSICAL | {
        "apn", "auto-config", "device-id", "network-id", "number", "password", "pin", "sim-id",
        "sim-operator-id", "username",
    },
    "tunnels": COMMON | {
        "ageing", "aging", "arp-proxy", "checksums", "do-not-fragment", "extensions", "flow-label", "id",
        "key", "keys", "limit", "link", "local", "mac-learning", "mark", "mode", "notifications", "peers",
        "port",
        "port-range", "remote", "short-circuit", "ttl", "type-of-service",
    },
    "virtual-ethernets": COMMON | {"peer"},
    "vlans": COMMON | {"id", "link"},
    "vrfs": COMMON | {"interfaces", "table"},
    "wifis": PHYSICAL | {"access-points", "auth", "regulatory-domain"},
}  # fmt: skip
ROOT = frozenset((*INTERFACES, "nm-devices", "openvswitch", "renderer", "version"))
NAMESERVERS = frozenset(("addresses", "search"))
#: keys that authors expect, with the key to write
OTHERS = {"ipv4": "dhcp4", "ipv6": "dhcp6", "dhcp": "dhcp4", "gateway": "gateway4", "dns": "nameservers"}


def unknown_keys(root: Node) -> Iterator[Mistake]:
    """Search a mapping ``network`` or a network-config. Yield each key that netplan does not know."""
    yield from unknown(root, ROOT, "version 2")
    for kind, _, interfaces in pairs(root):
        for _, _, settings in pairs(interfaces) if kind in INTERFACES else ():
            yield from unknown(settings, INTERFACES[kind], f"an interface in '{kind}'")
            for key, _, value in pairs(settings):
                if key == "nameservers" and isinstance(value, Mapping):
                    yield from unknown(value, NAMESERVERS, "'nameservers'")


def unknown(node: Node, known: frozenset[str], owner: str) -> Iterator[Mistake]:
    for name, key, _ in pairs(node):
        if name not in known and name not in ("<<", "config"):
            other = OTHERS.get(name, "")
            hint = f"did you mean '{other}'?" if other in known else did_you_mean(name, sorted(known))
            hint = f": {hint}" if hint else ""
            yield key.line, f"{owner} has no key '{printable(name[:60])}'{hint}"
