"""The names that a template sees, as LXD and Incus fill them in."""

from .pongo2.embedding import daemon_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .hosts import Host
    from .instance import Instance
    from .metadata import Rule


def context_for(instance: "Instance", rule: "Rule", trigger: str, host: "Host") -> "dict[str, Any]":
    """What ``rule`` sees when ``trigger`` fires.

    ``path`` is the rule's key as written. No host differs in any of it: ``host`` is here so that one
    may.
    """
    return daemon_context(
        trigger,
        rule.path,
        facts_of(instance),
        instance.expanded_config(),
        instance.expanded_devices(),
        rule.properties,
    )


def facts_of(instance: "Instance") -> "dict[str, str]":
    """``instance`` and its alias ``container``. All are strings, so ``{% if instance.ephemeral %}``
    holds for "false" too; virtual machines have no ``privileged``, which then is false."""
    # Incus: driver_lxc.go and driver_qemu.go, templateApplyNow
    facts = {
        "name": instance.name,
        "type": instance.type,
        "architecture": instance.architecture,
        "ephemeral": _text(instance.ephemeral),
    }
    if not instance.is_vm:
        facts["privileged"] = _text(instance.privileged)
    return facts


def _text(value: bool) -> str:
    return "true" if value else "false"
