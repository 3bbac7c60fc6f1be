"""Prediction of cloud-init's next boot, from a plan of the next start and from the root filesystem.

The rules follow cloud-init 25.1. docs/cloud-init.md lists the rules with their sources. Tests compare the
rules with the recorded boots in `tests/cloud_init/boots.json`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..model.errors import LimitError, TemplaterError
from .guest import MOST_NAMES, UNKNOWN, Guest, read_guest
from .seed import MAX_FILE, META, NETWORK, USER, VENDOR, Seed, is_concerned, read_seed, seed_after

if TYPE_CHECKING:
    from ..model.plan import Plan

NOCLOUD, LXD, NONE = "NoCloud", "LXD", "None"

#: maximum number of characters of an instance-id that a message shows
_LONGEST_ID = 64
#: the instance-id of the next boot, compared with the ids of earlier boots
FIRST, SAME, NEW, EARLIER = "first boot", "same", "new", "used earlier"

#: sections of docs/cloud-init.md
CACHE, PER_INSTANCE = "when-cloud-init-reads-new-data", "per-instance-modules"
EVENTS, LIST, SOCKET = "network-configuration", "choice-of-the-datasource", "the-datasource-lxd"

#: the configuration keys with data for cloud-init
KEYS = tuple(
    f"{prefix}.{name}"
    for prefix in ("cloud-init", "user")
    for name in ("user-data", "vendor-data", "network-config")
)


@dataclass(frozen=True, slots=True)
class Daemon:
    """Facts about the daemon.

    * ``product``: ``incus``, ``lxd``, or "" if unknown
    * ``instance_id``: the instance-id that the guest's API serves
    * ``has_socket``: whether the guest has `/dev/lxd/sock` (never in Incus), or None if unknown
    """

    product: str = ""
    instance_id: str = ""
    has_socket: bool | None = None

    @property
    def serves_lxd(self) -> bool | None:
        return False if self.product == "incus" else self.has_socket


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason for a prediction.

    ``text`` is a sentence. ``rule`` names the section of docs/cloud-init.md with more details.
    """

    text: str
    rule: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A prediction of cloud-init's next boot. A field that is None is unknown.

    * ``reads``: whether cloud-init reads new data, instead of using the data of its last boot
    * ``per_instance``: whether cloud-init runs the modules and scripts that run once per instance-id
    * ``network``: whether cloud-init writes the guest's network configuration from network-config
    """

    datasource: str
    instance: str
    reads: bool | None
    per_instance: bool | None
    network: bool | None
    reasons: tuple[Reason, ...]
    version: str = ""
    sources: tuple[str, ...] | None = None


def next_boot(plan: Plan, rootfs: Any, daemon: Daemon | None = None) -> Verdict | None:
    """Return the prediction of cloud-init's next boot, or None if the plan does not concern cloud-init.

    ``rootfs`` is a view of the guest's root filesystem, or None. The view's method ``listdir`` is optional.
    """
    config = plan.instance.expanded_config()
    if not is_concerned(plan) and not any(config.get(key) for key in KEYS):
        return None

    # If a file is unreadable or a directory is too large, all facts about the guest are unknown.
    unreadable: list[str] = []

    def read(path: str) -> bytes | None:
        try:
            data: bytes = rootfs.read(path, MAX_FILE)
        except (TemplaterError, OSError):
            if not is_missing(path):
                unreadable.append(path)
            return None
        return data

    def is_missing(path: str) -> bool:
        try:
            return rootfs.entry(path) is None
        except (TemplaterError, OSError):
            return False

    def names(path: str) -> list[str] | None:
        try:
            found: list[str] = rootfs.listdir(path, most=MOST_NAMES)
        except LimitError:
            unreadable.append(path)
            return None
        except (TemplaterError, OSError, AttributeError):
            return None
        return found

    before = read_seed(read if rootfs is not None else lambda path: None)
    guest = UNKNOWN if rootfs is None else read_guest(read, names)
    if unreadable:
        guest = UNKNOWN
    return judge(before, seed_after(plan, before), guest, daemon or daemon_of(plan))


def daemon_of(plan: Plan) -> Daemon:
    """Return the facts about the daemon that follow from the plan's host and the instance's configuration."""
    config = plan.instance.expanded_config()
    enabled = config.get("security.devlxd", "true").lower() not in ("false", "0", "no", "off")
    product = plan.host.product
    return Daemon(
        product,
        config.get("volatile.cloud-init.instance-id", ""),
        enabled if product == "lxd" else False if product == "incus" else None,
    )


def judge(before: Seed, after: Seed, guest: Guest = UNKNOWN, daemon: Daemon = Daemon()) -> Verdict:
    """Return the prediction of cloud-init's next boot.

    The instance's start replaces the seed ``before`` by the seed ``after``.
    """
    found = _judge(before, after, _with_last_boot(guest, before), daemon)
    return replace(found, version=guest.version, sources=guest.sources)


def _with_last_boot(guest: Guest, before: Seed) -> Guest:
    """Return the facts about the guest.

    If the guest's last boot is unknown, assume that the last boot used the seed ``before``.
    """
    if guest.last_id or guest.known or not before.folder:
        return guest
    last = before.instance_id
    return replace(guest, last_id=last, last_source=NOCLOUD, earlier=frozenset((last,)))


def _judge(before: Seed, after: Seed, guest: Guest, daemon: Daemon) -> Verdict:
    if guest.disabled:
        reason = Reason("/etc/cloud/cloud-init.disabled exists, so cloud-init does not run", LIST)
        return Verdict(NONE, SAME, False, False, False, (reason,))
    if guest.last_source == NOCLOUD and guest.last_id:
        if guest.trusts_cache:
            return _trusted(guest)
        if after.quick_id == guest.last_id:
            return _cached(before, after, guest)
    if guest.last_source == LXD and daemon.serves_lxd and guest.last_id == daemon.instance_id:
        return _cached_lxd(guest)
    return _searched(after, guest, daemon)


def _trusted(guest: Guest) -> Verdict:
    reason = Reason(
        "manual_cache_clean is set: cloud-init never compares the instance-id, and keeps the data of its last"
        " boot",
        CACHE,
    )
    events = None if guest.updates_at_boot else False
    return Verdict(NOCLOUD, SAME, events, False, events, (reason,))


def _cached(before: Seed, after: Seed, guest: Guest) -> Verdict:
    """Return the prediction for a guest whose instance-id is unchanged."""
    text = f"the instance-id is still '{shown(guest.last_id)}': per-instance modules don't run again"
    reasons = [Reason(text, CACHE)]
    changed = [name for name in (META, USER, VENDOR, NETWORK) if before.get(name) != after.get(name)]
    reads = guest.updates_at_boot and not guest.disabled_network and bool(after.folder)
    if reads:
        text = (
            "`updates.network.when` asks for an update at each boot: cloud-init reads all data again, and"
            " its per-boot modules use this data"
        )
        reasons.append(Reason(text, EVENTS))
    elif changed:
        names = " and ".join(changed)
        reasons.append(
            Reason(f"cloud-init uses the data of its last boot, so it ignores the new {names}", CACHE)
        )
    network = reads and bool(after.get(NETWORK))
    return Verdict(NOCLOUD, SAME, reads, False, network, (*reasons, *_network(after, guest, network)))


def _cached_lxd(guest: Guest) -> Verdict:
    text = f"LXD still serves the instance-id '{shown(guest.last_id)}': per-instance modules don't run again"
    reads = guest.updates_at_boot and not guest.disabled_network
    return Verdict(LXD, SAME, reads, False, reads, (Reason(text, SOCKET),))


def _searched(after: Seed, guest: Guest, daemon: Daemon) -> Verdict:
    """Return the prediction for a boot at which cloud-init searches for a datasource."""
    source, reasons = _datasource(after, guest, daemon)
    if source == "":
        return Verdict("", "", None, None, None, reasons)
    if source == NONE:
        return Verdict(NONE, NEW, False, None, False, reasons)
    current = after.instance_id if source == NOCLOUD else daemon.instance_id
    if not current:
        return Verdict(source, "", None, None, None, reasons)
    if not guest.last_id and not guest.known:
        text = "it is unknown whether this is the guest's first boot: at the first boot, all modules run"
        return Verdict(source, "", None, None, None, (*reasons, Reason(text, PER_INSTANCE)))
    instance, new = _instance(current, guest), shown(current)
    texts = {
        FIRST: f"the first boot of cloud-init, with instance-id '{new}': all modules run",
        NEW: f"the instance-id changes from '{shown(guest.last_id)}' to '{new}': all modules run again",
        EARLIER: f"the guest already used the instance-id '{new}' in an earlier boot:"
        " per-instance modules don't run again",
        SAME: "meta-data has no instance-id: cloud-init reads all data at each boot, but per-instance modules"
        " run once",
    }
    reasons = (*reasons, Reason(texts[instance], PER_INSTANCE))
    # If a seed has no instance-id, cloud-init uses the id "nocloud". This id is new only at the first boot.
    changed = instance != SAME or guest.updates_at_boot
    has_config = source == LXD or bool(after.get(NETWORK))
    network = changed and has_config and not guest.disabled_network
    reasons += _network(after, guest, network) if source == NOCLOUD else ()
    return Verdict(source, instance, True, instance in (FIRST, NEW), network, reasons)


def shown(instance_id: str) -> str:
    """Return an instance-id, shortened for a message. A guest can write an id of any length."""
    return instance_id if len(instance_id) <= _LONGEST_ID else f"{instance_id[:_LONGEST_ID]}…"


def _instance(current: str, guest: Guest) -> str:
    if not guest.last_id:
        return FIRST
    if current == guest.last_id:
        return SAME
    return EARLIER if current.replace("/", "_") in guest.earlier else NEW


def _datasource(after: Seed, guest: Guest, daemon: Daemon) -> tuple[str, tuple[Reason, ...]]:
    """Predict which datasource cloud-init finds. Return the datasource, and the reasons.

    The datasource is NONE if cloud-init finds no datasource, and "" if the result is unknown.
    """
    reasons: list[Reason] = []
    for name in guest.sources or (NOCLOUD, LXD):
        if name == NOCLOUD and after.folder:
            return NOCLOUD, ()
        if name == NOCLOUD and after.files:
            missing = " and ".join(each for each in (META, USER) if not _has(after, each))
            reasons.append(Reason(f"the seed has no {missing}, so cloud-init ignores the seed", LIST))
        if name == LXD:
            if daemon.serves_lxd:
                return LXD, tuple(reasons)
            if daemon.serves_lxd is None:
                text = (
                    "it is unknown whether the guest has /dev/lxd/sock, from which the datasource LXD reads"
                )
                return "", (*reasons, Reason(text, SOCKET))
            if daemon.product == "incus":
                text = "guests of Incus have no /dev/lxd/sock, so the datasource LXD finds nothing"
                reasons.append(Reason(text, SOCKET))
    if after.folder:
        shown = ", ".join(guest.sources or ())
        reasons.append(
            Reason(f"datasource_list is {shown}: without NoCloud, cloud-init ignores the seed", LIST)
        )
    text = "cloud-init finds no datasource: it ignores cloud-init.user-data and user.user-data"
    return NONE, (*reasons, Reason(text, LIST))


def _has(seed: Seed, name: str) -> bool:
    return any(path.endswith(f"/{name}") for path in seed.files)


def _network(after: Seed, guest: Guest, network: bool) -> tuple[Reason, ...]:
    if guest.disabled_network:
        return (Reason("the guest's configuration stops cloud-init from configuring the network", EVENTS),)
    if network:
        return (Reason("cloud-init writes the network configuration from network-config", EVENTS),)
    if after.get(NETWORK):
        return (Reason("network-config has an effect only with a new instance-id", EVENTS),)
    return ()
