"""A network configuration for cloud-init is not valid: wrong YAML, version, type or key.

Version 1 has a list `config`. Version 2 has the keys of netplan. Neither version has a key `ipv4`: in version
1, the `type` of a subnet selects IPv4 or IPv6.

    version: 1
    config:
    - type: physical
      name: eth0
      subnets:
      - type: static
        ipv4: true                   wrong: version 1 has no such key
        address: 10.0.0.5/24

If cloud-init's JSON schemas are installed, the check also compares keys and values with the schemas. The page
about the check `cloud-config` explains how to get the schemas.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ...parsing.yaml_nodes import Mapping, Node, Scalar, Sequence, pairs, value_of
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..mistakes_in_files import Mistake, mistakes_of, validated, yaml_mapping
from ..netplan_keys import unknown_keys
from ..rendered_files import File

TYPES = {"bond", "bridge", "infiniband", "loopback", "nameserver", "physical", "route", "vlan"}
SUBNETS = {
    "dhcp", "dhcp4", "dhcp6", "ipv6_dhcpv6-stateful", "ipv6_dhcpv6-stateless", "ipv6_slaac", "loopback",
    "manual", "none", "static", "static6",
}  # fmt: skip
#: keys that only version 2 has
NEWER = {"addresses", "dhcp4", "dhcp6", "gateway4", "gateway6", "nameservers"}
#: keys of older documentation, for which cloud-init prints a warning
OLD = {"ipv4", "ipv6"}
DEVICES = {
    "bonds", "bridges", "dummy-devices", "ethernets", "modems", "nm-devices", "tunnels", "virtual-ethernets",
    "vlans", "vrfs", "wifis",
}  # fmt: skip


@check(
    "network-config", "error", "a network configuration that cloud-init rejects or ignores", validated=True
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    yield from mistakes_of(
        image,
        ("network-config",),
        find,
        lambda file: validated(image, "cloud-init's schemas", file, "network-config"),
    )


def find(file: File) -> Iterator[Mistake]:
    root = yaml_mapping(file)
    if root is None:
        return
    if isinstance(root, tuple):
        yield root
        return
    inner = value_of(root, "network")
    found: Node = inner if inner is not None else root
    version = value_of(found, "version")
    number = version.text if isinstance(version, Scalar) else ""
    config = value_of(found, "config")
    if number == "1":
        yield from version_1(found, config)
    elif number == "2":
        yield from version_2(found)
        for line, message, *_ in unknown_keys(found):
            yield line, message, "warning"
    elif isinstance(config, Scalar) and config.text == "disabled":
        return
    elif version is None:
        yield found.line, "the key 'version' is missing"
    else:
        yield version.line, f"version must be 1 or 2, not {printable(number)}"


def version_1(root: Node, config: Node | None) -> Iterator[Mistake]:
    for name, key, _ in pairs(root):
        if name in DEVICES or name in NEWER:
            yield key.line, f"version 1 has no key '{name}': this key belongs to version 2"
    if isinstance(config, Scalar) and config.text == "disabled":
        return
    if not isinstance(config, Sequence):
        yield (root if config is None else config).line, "version 1 needs a list 'config'"
        return
    for item in config.children:
        kind = value_of(item, "type")
        if not isinstance(item, Mapping) or not isinstance(kind, Scalar):
            yield item.line, "an item of 'config' needs a 'type'"
            continue
        if kind.text not in TYPES:
            yield kind.line, f"unknown type '{printable(kind.text)}'"
        elif kind.text in ("physical", "bond", "bridge", "vlan") and value_of(item, "name") is None:
            yield item.line, f"an item of type '{kind.text}' needs a 'name'"
        for name, key, _ in pairs(item):
            if name in NEWER:
                yield key.line, f"in version 1, an item of 'config' has no key '{name}'"
        subnets = value_of(item, "subnets")
        for subnet in subnets.children if isinstance(subnets, Sequence) else ():
            yield from of_subnet(subnet)


def of_subnet(subnet: Node) -> Iterator[Mistake]:
    kind = value_of(subnet, "type")
    if not isinstance(kind, Scalar):
        yield subnet.line, "a subnet needs a 'type'"
        return
    if kind.text not in SUBNETS:
        yield kind.line, f"unknown subnet type '{printable(kind.text)}'"
    for name, key, _ in pairs(subnet):
        if name in NEWER:
            yield key.line, f"in version 1, a subnet has no key '{name}': set the subnet's 'type' instead"
        elif name in OLD:
            message = f"cloud-init does not know the subnet key '{name}': set the subnet's 'type' instead"
            yield key.line, message, "warning"


def version_2(root: Node) -> Iterator[Mistake]:
    for name, key, value in pairs(root):
        if name == "config":
            yield key.line, "version 2 has no key 'config': this key belongs to version 1"
        if name in DEVICES:
            if not isinstance(value, Mapping):
                yield value.line, f"'{name}' must be a mapping"
            for device, _, settings in pairs(value):
                empty = isinstance(settings, Scalar) and settings.plain and settings.text in ("", "null", "~")
                if not isinstance(settings, Mapping) and not empty:
                    yield settings.line, f"'{printable(device)}' in '{name}' must be a mapping"
