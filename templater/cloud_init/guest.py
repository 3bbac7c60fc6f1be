"""The facts about a guest that determine cloud-init's behaviour, read from the guest's root filesystem."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .yaml_values import TRUE, node_at, root_of, text_at, texts_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..parsing.yaml_nodes import Node
    from .seed import Read

    Names = Callable[[str], list[str] | None]

#: the folders in which distributions install cloud-init's Python package; some names contain Python's version
PACKAGES = (
    "/usr/lib/python3/dist-packages/cloudinit",
    *(f"/usr/lib/python3.{minor}/site-packages/cloudinit" for minor in range(15, 5, -1)),
)
_VERSION = re.compile(rb'^(?:__VERSION__|_PACKAGED_VERSION) = "([0-9][^"@]*)"', re.MULTILINE)
_DATASOURCE = re.compile(rb'"datasource":\s*"DataSource(\w+)')

CONFIG = "/etc/cloud/cloud.cfg"
STATE = "/var/lib/cloud"
#: events of `updates: network: when` for which cloud-init reads its data again at each boot
BOOT_EVENTS = ("boot", "boot-legacy")
#: limits on the number of a guest's configuration files and on their total bytes; above these limits, every
#: fact is unknown
MAX_SETTINGS, MAX_SETTINGS_TOTAL = 1000, 1 << 20

#: limit on the names in a directory of cloud-init; above this limit, every fact is unknown
MOST_NAMES = 10_000


@dataclass(frozen=True, slots=True)
class Guest:
    """Facts about a guest. Empty texts and None stand for facts that could not be read.

    * ``known``: whether the state of cloud-init was readable
    * ``version``: version of cloud-init
    * ``sources``: cloud-init's setting `datasource_list`
    * ``last_id`` and ``last_source``: instance-id and datasource of the last boot, or "" before the first
      boot
    * ``earlier``: instance-ids of all boots so far
    * ``trusts_cache``: cloud-init's setting `manual_cache_clean`
    * ``updates_at_boot``: whether `updates: network: when` lists an event that happens at each boot
    * ``disabled_network``: whether `network: {config: disabled}` is set
    """

    known: bool = False
    version: str = ""
    sources: tuple[str, ...] | None = None
    last_id: str = ""
    last_source: str = ""
    earlier: frozenset[str] = frozenset()
    trusts_cache: bool = False
    updates_at_boot: bool = False
    disabled_network: bool = False
    disabled: bool = False


UNKNOWN = Guest()


def read_guest(read: Read, names: Names) -> Guest:
    """Read the facts about the guest.

    The function ``read`` returns the content of a file. The function ``names`` returns the names in a
    folder, or None if the folder is missing or unreadable.
    """
    last_id = (read(f"{STATE}/data/instance-id") or b"").decode("utf-8", "replace").strip()
    result = _DATASOURCE.search(read(f"{STATE}/data/result.json") or b"")
    earlier = names(f"{STATE}/instances")
    version = _version(read)
    settings = _settings(read, names, last_id)
    if settings is None:
        return UNKNOWN
    events = [
        found for root in settings if (found := texts_at(root, "updates", "network", "when")) is not None
    ]
    networks = [root for root in settings if node_at(root, "network") is not None]
    return Guest(
        known=bool(last_id or version or earlier is not None or settings or _never_ran(names)),
        version=version,
        sources=next((found for root in settings if (found := texts_at(root, "datasource_list"))), None),
        last_id=last_id,
        last_source="" if result is None else result[1].decode(),
        earlier=frozenset(earlier or ()),
        trusts_cache=_flag(settings, "manual_cache_clean"),
        updates_at_boot=bool(events and set(BOOT_EVENTS) & set(events[0])),
        disabled_network=bool(networks and text_at(networks[0], "network", "config") == "disabled"),
        disabled=read("/etc/cloud/cloud-init.disabled") is not None,
    )


def _never_ran(names: Names) -> bool:
    """Return whether the folder of cloud-init's state shows that cloud-init has never run."""
    state = names(STATE)
    if state is not None:
        return not {"data", "instance", "instances"}.intersection(state)
    above, _, name = STATE.rpartition("/")
    return name not in (names(above) or (name,))


def _version(read: Read) -> str:
    for package in PACKAGES:
        found = _VERSION.findall(read(f"{package}/version.py") or b"")
        if found:
            return str(found[-1].decode())
    return ""


def _settings(read: Read, names: Names, last_id: str) -> list[Node | None] | None:
    """Return the configuration files, highest priority first. The list has None for invalid YAML.

    Return None if the files exceed a limit.
    """
    files = sorted((name for name in names(f"{CONFIG}.d") or () if name.endswith(".cfg")), reverse=True)
    if len(files) > MAX_SETTINGS:
        return None
    paths = [f"{CONFIG}.d/{name}" for name in files] + [CONFIG]
    if last_id and "/" not in last_id:
        paths.insert(0, f"{STATE}/instances/{last_id}/cloud-config.txt")
    total, found = 0, []
    for path in paths:
        data = read(path)
        if data is not None:
            total += len(data)
            if total > MAX_SETTINGS_TOTAL:
                return None
            found.append(root_of(data))
    return found


def _flag(settings: list[Node | None], name: str) -> bool:
    found = [text for root in settings if (text := text_at(root, name))]
    return bool(found) and found[0].lower() in TRUE
