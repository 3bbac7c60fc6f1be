"""The configuration keys that a daemon sets or generates, at the creation of an instance or later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.pending_trigger import PENDING_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..model.instance import Instance
    from ..model.plan import Change

_PREFIX = "<set at create"
#: the placeholder for a value that the daemon generates
PLACEHOLDER = f"{_PREFIX}>"

ID_KEY = "volatile.cloud-init.instance-id"
_NEW_ID = "<new instance-id "
_IDENTIFYING = tuple(
    f"{prefix}.{name}"
    for prefix in ("cloud-init", "user")
    for name in ("user-data", "vendor-data", "network-config")
)
#: the keys with generated values that a container had at its first start on Incus 6.0.4
_GENERATED = (
    "volatile.base_image", ID_KEY, "volatile.uuid", "volatile.uuid.generation",
)  # fmt: skip
_GENERATED_IDMAP = (
    "volatile.idmap.base", "volatile.idmap.current", "volatile.idmap.next", "volatile.last_state.idmap",
)  # fmt: skip


def new_instance(
    instance: Instance, properties: Mapping[str, str], triggers: tuple[str, ...], *, placeholders: bool
) -> Instance:
    """Return the instance at its first start, with ``image.*`` keys and ``volatile.apply_template``.

    With ``placeholders``, add placeholders for the values that the daemon generates.
    """
    given = instance.expanded_config()
    made = with_image_keys(instance, properties)
    keys = {PENDING_KEY: triggers[0]}
    if placeholders:
        keys |= dict.fromkeys(_generated_keys(instance), PLACEHOLDER)
    # Values of the user stay unchanged, except the values of ``image.*`` keys.
    return made.replace(config={**{k: v for k, v in keys.items() if k not in given}, **made.config})


def with_image_keys(instance: Instance, properties: Mapping[str, str]) -> Instance:
    """Return the instance in its state after a daemon has created or rebuilt it from an image.

    The daemon sets ``image.KEY`` for each property of the image.
    """
    keys = {f"image.{key}": value for key, value in properties.items()}
    # The daemon overwrites values of these keys that the user has set (observed on Incus 6.0.4).
    return instance.replace(config={**instance.config, **keys})


def with_placeholders(instance: Instance, name: str = "") -> Instance:
    """Return the instance with a placeholder for each missing key that a daemon generates.

    If the instance's ``name`` is given, each placeholder contains this name.
    """
    # Placeholders with a name differ between instances, like the generated values.
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


def with_new_id(before: Instance, after: Instance) -> Instance:
    """Return ``after``. If the daemon would generate a new instance-id, add a placeholder for it.

    Recordings of Incus 6.0.4 and LXD 5.21 show a new instance-id if one of these values changes:

    * the name of the instance or of a network interface
    * the expanded user-data, vendor-data or network-config
    """
    old = before.expanded_config().get(ID_KEY)
    if old is None or _identity(before) == _identity(after) or after.config.get(ID_KEY, old) != old:
        return after
    number = int(old[len(_NEW_ID) : -1]) + 1 if old.startswith(_NEW_ID) else 1
    return after.replace(config={**after.config, ID_KEY: f"{_NEW_ID}{number}>"})


def _identity(instance: Instance) -> tuple[object, ...]:
    config = instance.expanded_config()
    interfaces = {
        device.get("name") or config.get(f"volatile.{name}.name") or name
        for name, device in instance.expanded_devices().items()
        if device.get("type") == "nic"
    }
    return instance.name, interfaces, *(config.get(key, "") for key in _IDENTIFYING)


def placeholder_note(changes: Iterable[Change]) -> tuple[str, ...]:
    """Return notes that explain the placeholders in the rendered files."""
    contents = [change.content for change in changes if change.content is not None]
    notes = []
    if found := [content for content in contents if _PREFIX.encode() in content]:
        shown = PLACEHOLDER if all(PLACEHOLDER.encode() in content for content in found) else f"{_PREFIX}…>"
        notes.append(f"'{shown}' stands for a value that the daemon generates when it creates the instance")
    if any(_NEW_ID.encode() in content for content in contents):
        notes.append(f"'{_NEW_ID}…>' stands for a new {ID_KEY}, which the daemon generates")
    return tuple(notes)
