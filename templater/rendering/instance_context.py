"""The variables that LXD and Incus give to a template."""

from ..pongo2.daemon_context import daemon_context
from ..pongo2.values import GoMap, NamedString

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..model.hosts import Host
    from ..model.instance import Instance
    from ..model.metadata import Rule


def context_for(instance: "Instance", rule: "Rule", trigger: str, host: "Host") -> "dict[str, Any]":
    """Return the variables for ``rule``'s template. ``path`` is the rule's key in metadata.yaml."""
    return daemon_context(
        trigger,
        rule.path,
        facts_of(instance),
        instance.expanded_config(),
        instance.expanded_devices(),
        rule.properties,
        version=host.pongo2_version,
        nested_last=host.nested_last,
    )


class Contexts:
    """A factory of template contexts for the rules of one instance."""

    __slots__ = ("host", "instance", "made")

    def __init__(self, instance: "Instance", host: "Host") -> None:
        self.instance = instance
        self.host = host
        self.made: dict[str, Any] | None = None

    def of(self, rule: "Rule", trigger: str) -> "dict[str, Any]":
        # All contexts share the values that do not depend on the rule. This is safe because a template cannot
        # change a value.
        if self.made is None:
            self.made = context_for(self.instance, rule, trigger, self.host)
        context = dict(self.made)
        context["trigger"] = NamedString(trigger)
        context["path"] = rule.path
        context["properties"] = GoMap(rule.properties)
        return context


def facts_of(instance: "Instance") -> "dict[str, str]":
    """Return the value of the variable ``instance``, whose alias is ``container``.

    All values in the result are strings, so ``{% if instance.ephemeral %}`` is true even for "false".
    """
    # Incus defines these fields in templateApplyNow in driver_lxc.go and driver_qemu.go.
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
