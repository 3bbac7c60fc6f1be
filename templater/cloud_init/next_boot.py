"""Prediction of cloud-init's next boot, from a plan of the next start and from the root filesystem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..model.errors import TemplaterError
from .boot_rules import Daemon, judge
from .guest import UNKNOWN, read_guest
from .seed import MAX_FILE, is_concerned, read_seed, seed_after

if TYPE_CHECKING:
    from ..model.plan import Plan
    from .boot_rules import Verdict

#: the configuration keys with data for cloud-init
KEYS = tuple(
    f"{prefix}.{name}"
    for prefix in ("cloud-init", "user")
    for name in ("user-data", "vendor-data", "network-config")
)


def next_boot(plan: Plan, rootfs: Any, daemon: Daemon | None = None) -> Verdict | None:
    """Return the prediction of cloud-init's next boot, or None if the plan does not concern cloud-init.

    ``rootfs`` is a root filesystem view, or None if it is unknown. Its method ``listdir`` is optional. A plan
    concerns cloud-init if a rule writes a file of the NoCloud seed, or the instance has data for cloud-init.
    If a file of the guest exists and can't be read, as in an archive, the facts about the guest are unknown.
    """
    config = plan.instance.expanded_config()
    if not is_concerned(plan) and not any(config.get(key) for key in KEYS):
        return None

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
            found: list[str] = rootfs.listdir(path)
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
