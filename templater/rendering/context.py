"""The names that a template sees, as LXD and Incus fill them in."""

from ..pongo2.daemon_context import daemon_context
from ..pongo2.values import GoMap, NamedString

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..model.hosts import Host
    from ..model.instance import Instance
    from ..model.metadata import Rule


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


class Contexts:
    """``context_for`` of one instance, rule after rule: what no rule changes is made once.

    Nothing in a template can change a value; what it sets are names of its own render.
    """

    __slots__ = ("host", "instance", "made")

    def __init__(self, instance: "Instance", host: "Host") -> None:
        self.instance = instance
        self.host = host
        self.made: dict[str, Any] | None = None

    def of(self, rule: "Rule", trigger: str) -> "dict[str, Any]":
        if self.made is None:
            self.made = context_for(self.instance, rule, trigger, self.host)
        context = dict(self.made)
        context["trigger"] = NamedString(trigger)
        context["path"] = rule.path
        context["properties"] = GoMap(rule.properties)
        return context


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
