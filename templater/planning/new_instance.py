"""The configuration keys that a daemon sets when it creates an instance from an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.lifecycle import PENDING_KEY
from ..rendering.context import with_image_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..model.instance import Instance
    from ..model.plan import Change

_PREFIX = "<set at create"
#: the placeholder for a value that the daemon generates
PLACEHOLDER = f"{_PREFIX}>"

#: the keys with generated values that a container had at its first start on Incus 6.0.4
_GENERATED = (
    "volatile.base_image", "volatile.cloud-init.instance-id", "volatile.uuid", "volatile.uuid.generation",
)  # fmt: skip
_GENERATED_IDMAP = (
    "volatile.idmap.base", "volatile.idmap.current", "volatile.idmap.next", "volatile.last_state.idmap",
)  # fmt: skip


def new_instance(
    instance: Instance, properties: Mapping[str, str], triggers: tuple[str, ...], *, placeholders: bool
) -> Instance:
    """Return the instance at its first start, with ``image.*`` keys and the pending trigger.

    With ``placeholders``, add placeholders for the values that the daemon generates. Values that the
    user gave are kept, except those of ``image.*`` keys.
    """
    given = instance.expanded_config()
    made = with_image_keys(instance, properties)
    keys = {PENDING_KEY: triggers[0]}
    if placeholders:
        keys |= dict.fromkeys(_generated_keys(instance), PLACEHOLDER)
    return made.replace(config={**{k: v for k, v in keys.items() if k not in given}, **made.config})


def with_placeholders(instance: Instance, name: str = "") -> Instance:
    """Return the instance with a placeholder for each missing key that a daemon generates.

    Generated values, such as UUIDs, differ between instances, so their placeholders contain ``name``.
    """
    placeholder = f"{_PREFIX} of {name}>" if name else PLACEHOLDER
    given = instance.expanded_config()
    missing = {key: placeholder for key in _generated_keys(instance) if key not in given}
    return instance.replace(config={**instance.config, **missing}) if missing else instance


def _generated_keys(instance: Instance) -> tuple[str, ...]:
    nics = (
        f"volatile.{name}.hwaddr"
        for name, device in instance.expanded_devices().items()
        if device.get("type") == "nic" and not device.get("hwaddr")
    )
    return (*_GENERATED, *(() if instance.is_vm else _GENERATED_IDMAP), *nics)


def placeholder_note(changes: Iterable[Change]) -> tuple[str, ...]:
    """Return one note that explains the placeholders, or () if no rendered file contains a placeholder."""
    marker = _PREFIX.encode()
    found = [change.content for change in changes if change.content is not None and marker in change.content]
    if not found:
        return ()
    shown = PLACEHOLDER if all(PLACEHOLDER.encode() in content for content in found) else f"{_PREFIX}…>"
    return (f"'{shown}' stands for a value that the daemon generates when it creates the instance",)
