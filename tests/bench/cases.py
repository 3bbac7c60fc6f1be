"""Templates in the style of real images, each in the languages of the compared template engines."""

import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

CONTEXT: dict[str, Any] = {
    "trigger": "create",
    "path": "/etc/hosts",
    "instance": {
        "name": "web01",
        "type": "container",
        "architecture": "x86_64",
        "privileged": "false",
        "ephemeral": "false",
    },
    "config": {
        "image.os": "Debian",
        "user.network_mode": "dhcp",
        "user.meta-data": "public-keys: none\n",
        "user.dns": "10.0.0.53,10.0.1.53",
        "user.domain": "example.org",
        "limits.cpu": "2",
    },
    "devices": {
        "eth0": {"type": "nic", "name": "eth0", "hwaddr": "00:16:3e:1a:2b:3c", "address": "10.0.3.7"},
        "eth1": {"type": "nic", "name": "eth1", "hwaddr": "00:16:3e:1a:2b:3d"},
        "root": {"type": "disk", "path": "/"},
    },
    "properties": {"os": "debian", "release": "trixie", "default": "#cloud-config\n{}"},
}


class Case(NamedTuple):
    """One template in the languages of pongo2, Jinja and Django. minijinja also uses the Jinja text."""

    name: str
    pongo2: str
    jinja: str | None = None
    django: str | None = None


def same(name: str, text: str) -> Case:
    return Case(name, text, text, text)


HOSTS = """\
127.0.0.1	localhost
127.0.1.1	{{ container.name }}

# IPv6
::1	localhost ip6-localhost ip6-loopback
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
"""

META = """\
instance-id: {{ container.name }}
local-hostname: {{ container.name }}
{{ config_get("user.meta-data", "") }}
"""

NETWORK = """\
{% if config_get("user.network-config", "") == "" %}version: 1
config:
  - type: physical
    name: eth0
    subnets:
      - type: {% if config_get("user.network_mode", "") == "link-local" %}manual{% else %}dhcp{% endif %}
        control: auto{% else %}{{ config_get("user.network-config", "") }}{% endif %}
"""

FACTS = """\
name: {{ container.name }}
architecture: {{ container.architecture }}
privileged: {{ container.privileged }}
ephemeral: {{ container.ephemeral }}
path: {{ path }}
os: {{ properties.os|upper }} {{ properties.release|default:"unknown" }}
domain: {{ config_get("user.domain", "localdomain")|lower }}
"""

INTERFACES = """\
# interfaces of {{ instance.name }}
auto lo
iface lo inet loopback
{% for name, device in devices sorted %}{% if device.type == "nic" %}
auto {{ device.name|default:name }}
iface {{ device.name|default:name }} inet {% if device.address %}static
    address {{ device.address }}{% else %}dhcp{% endif %}
    hwaddress {{ device.hwaddr|upper }}
{% endif %}{% endfor %}
{% set servers = config_get("user.dns", "") %}{% if servers %}{% for server in servers|split:"," %}nameserver {{ server }}
{% endfor %}search {{ config_get("user.domain", "localdomain") }}
{% endif %}{# the end #}"""

CASES = (
    same("hostname", "{{ container.name }}\n"),
    same("hosts", HOSTS),
    Case("meta-data", META, META, META.replace('config_get("user.meta-data", "")', "get.meta_data")),
    Case(
        "network",
        NETWORK,
        NETWORK,
        NETWORK.replace('config_get("user.network-config", "")', "get.network_config").replace(
            'config_get("user.network_mode", "")', "get.network_mode"
        ),
    ),
    Case(
        "facts",
        FACTS,
        FACTS.replace('default:"unknown"', 'default("unknown")'),
        FACTS.replace('config_get("user.domain", "localdomain")', "get.domain"),
    ),
    Case(
        "interfaces",
        INTERFACES,
        INTERFACES.replace("in devices sorted", "in devices|dictsort")
        .replace("default:name", "default(name)")
        .replace('servers|split:","', 'servers.split(",")'),
        INTERFACES.replace("in devices sorted", "in devices.items")
        .replace('{% set servers = config_get("user.dns", "") %}{% if servers %}', "{% if get.dns %}")
        .replace('servers|split:","', "get.dns_servers")
        .replace('config_get("user.domain", "localdomain")', "get.domain"),
    ),
)


def corpus() -> list[Case]:
    """Return every template in the corpus of real images, the most common first.

    Return an empty list if this machine has no corpus.
    """
    root = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("TEMPLATER_CORPUS") or root.parent / "shared" / "corpus") / "images"
    texts: Counter[str] = Counter()
    names: dict[str, str] = {}
    for path in sorted(folder.glob("*/templates/*")):
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        if "{{" in text or "{%" in text:
            texts[text] += 1
            names.setdefault(text, f"{path.parent.parent.name}/{path.name}")
    return [Case(f"{count}x {names[text]}", text) for text, count in texts.most_common()]
