"""Origins of the values that a template prints: the layer of the configuration that sets each key."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..model.errors import TemplaterError, TemplateSyntaxError
from ..model.instance import EXPANDED_PROFILE, Expanded, Instance, Profile
from ..model.metadata import Metadata, Rule
from ..model.source import Source, Span
from ..pongo2.dialect import DIALECTS
from ..pongo2.render_state import DAEMON_NAMES
from ..pongo2.tracing.recorder import CONFIG_DEFAULT, FILTER_DEFAULT, Name, normal

if TYPE_CHECKING:
    from ..model.plan import Plan
    from ..pongo2.names_read import Read

#: the kinds of origins, with their descriptions in the legend
KINDS = {
    "profile": "a profile of the instance",
    "local": "the instance's own configuration",
    "image": "a property of the image",
    "property": "a property of the rule in metadata.yaml",
    "default": "a default in the template",
    "daemon": "supplied by the daemon, such as the instance's name",
    "merged": "local, or from a profile: the description has only the merged keys",
    "several": "several keys, each with its own origin",
    "undefined": "not set",
}
ALL_KEYS, ALL_DEVICES = "all configuration keys", "all devices"
_WORDS = {
    "local": "local key", "image": "image property", "property": "rule property",
    "default": "in the template", "daemon": "supplied by the daemon", "merged": "local or from a profile",
    "several": "several keys", "undefined": "not set",
}  # fmt: skip
_INSTANCE_FIELDS = ("architecture", "ephemeral", "name", "privileged", "type")


class Origin(NamedTuple):
    """The origin of one value that a template reads.

    ``name`` is the value's name, such as ``user.foo`` or ``instance.name``. ``kind`` is a key of `KINDS`.
    ``detail`` tells more, such as the name of the profile. ``span`` is a position in metadata.yaml, or None.
    """

    name: str
    kind: str
    detail: str = ""
    span: Span | None = None

    @property
    def words(self) -> str:
        """Return the origin in words, without the name of the value."""
        if self.kind == "profile":
            return f"profile {self.detail}"
        if self.kind == "merged" and self.detail:
            return f"local or from profile {self.detail}"
        if self.kind == "property" and self.span is not None:
            return f"rule property, line {self.span.line} of metadata.yaml"
        return f"{_WORDS[self.kind]} ({self.detail})" if self.detail else _WORDS[self.kind]


class Layers:
    """The layers that supply the values of one instance: the image, the profiles and the instance's own keys.

    ``given`` is the instance as the user described it, and ``made`` the instance that templates see, with the
    keys that a daemon adds. ``options`` and ``device_options`` have the names of the keys and devices that
    the command line sets.
    """

    def __init__(
        self,
        given: Instance,
        made: Instance,
        metadata: Metadata,
        *,
        options: Collection[str] = (),
        device_options: Collection[str] = (),
    ) -> None:
        self.given = given
        self.made = made
        self.metadata = metadata
        self.options = options
        self.device_options = device_options
        self.config = made.expanded_config()
        self.devices = made.expanded_devices()
        #: the last profile that sets each key and each device, because an instance can have many profiles
        self.holders = {key: profile for profile in made.profiles for key in profile.config}
        self.device_holders = {name: profile for profile in made.profiles for name in profile.devices}

    def origin(self, name: Name, rule: Rule) -> Origin:
        """Return the origin of a value that a template of ``rule`` reads."""
        root, *keys = normal({"devices": self.devices}, name)
        if root == "config":
            return self.of_key(keys[0]) if keys else Origin(ALL_KEYS, "several")
        if root == "devices":
            return self.of_device(keys)
        if root == "properties":
            return self.of_property(keys, rule)
        if root == "instance":
            return self.of_instance(keys)
        if root == CONFIG_DEFAULT:
            return Origin(f'the default of config_get("{keys[0]}")', "default")
        if root == FILTER_DEFAULT:
            return Origin("the argument of the filter 'default'", "default")
        known = root in ("trigger", "path") and not keys
        if known or name == ("pongo2", "version"):
            return Origin(".".join(name), "daemon")
        return Origin(".".join(name), "undefined", "no host provides this name")

    def of_key(self, key: str) -> Origin:
        if key not in self.config:
            return Origin(key, "undefined")
        if key not in self.made.config:
            return Origin(key, *of_profile(self.holders[key], self.made.expanded))
        prefix, _, name = key.partition(".")
        if prefix == "image":
            recorded = key in self.given.config and self.made.config[key] == self.given.config[key]
            detail = "recorded in the description" if recorded else ""
            return Origin(key, "image", detail, self.metadata.spans.get(f"properties[{name}]"))
        if key not in self.given.config:
            return Origin(key, "daemon")
        if key in self.options:
            return Origin(key, "local", "-c")
        if prefix == "volatile":
            return Origin(key, "daemon", "recorded in the description")
        expanded = self.made.expanded
        return Origin(key, *of_local(key, expanded, None if expanded is None else expanded.config))

    def of_device(self, keys: list[str]) -> Origin:
        name = ".".join(["devices", *keys])
        if not keys:
            return Origin(ALL_DEVICES, "several")
        device = self.devices.get(keys[0])
        if device is None or (len(keys) > 1 and keys[1] not in device):
            return Origin(name, "undefined")
        if keys[0] in self.device_options:
            return Origin(name, "local", "-d")
        if keys[0] not in self.made.devices:
            return Origin(name, *of_profile(self.device_holders[keys[0]], self.made.expanded))
        expanded = self.made.expanded
        return Origin(name, *of_local(keys[0], expanded, None if expanded is None else expanded.devices))

    def of_property(self, keys: list[str], rule: Rule) -> Origin:
        name = ".".join(["properties", *keys])
        if not keys:
            return Origin(name, "property", "all properties of the rule", rule.spans.get("entry"))
        if keys[0] not in rule.properties:
            return Origin(name, "undefined")
        span = rule.spans.get(f"properties[{keys[0]}]") or rule.spans.get("entry")
        return Origin(name, "property", "", span)

    def of_instance(self, keys: list[str]) -> Origin:
        name = ".".join(["instance", *keys])
        if keys == ["privileged"] and not self.made.is_vm and "security.privileged" in self.config:
            _, kind, detail, _ = self.of_key("security.privileged")
            return Origin(f"{name}, from security.privileged", kind, detail)
        if keys and (keys[0] not in _INSTANCE_FIELDS or (keys[0] == "privileged" and self.made.is_vm)):
            return Origin(name, "undefined")
        return Origin(name, "daemon")


def of_profile(profile: Profile, expanded: Expanded | None) -> tuple[str, str]:
    """Return the kind and detail of the origin of a key or device that a profile sets.

    ``EXPANDED_PROFILE`` stands for all profiles whose contents are unknown.
    """
    if expanded is None or profile.name != EXPANDED_PROFILE:
        return "profile", profile.name
    return ("profile", " or ".join(expanded.profiles)) if expanded.profiles else ("merged", "")


def of_local(name: str, expanded: Expanded | None, own: frozenset[str] | None) -> tuple[str, str]:
    """Return the kind and detail of the origin of a local key or device.

    In an expanded description, the local keys include the keys that profiles set.
    """
    if expanded is None or not expanded.profiles or (own is not None and name in own):
        return "local", ""
    names = " or ".join(expanded.profiles)
    return ("merged", names) if own is None else ("profile", names)


class Origins:
    """The origins of the values that one rule's template reads. Each origin is computed only once."""

    def __init__(self, layers: Layers, rule: Rule) -> None:
        self.layers = layers
        self.rule = rule
        self.found: dict[Name, Origin] = {}

    def of(self, names: Sequence[Name]) -> tuple[Origin, ...]:
        for name in names:
            if name not in self.found:
                self.found[name] = self.layers.origin(name, self.rule)
        return tuple(self.found[name] for name in names)


def name_of(read: Read) -> Name:
    """Return the name of the value that a template reads.

    ``container`` is another name of ``instance``; for both, the result is ``instance``.
    """
    if read.key is not None:
        return ("config", read.key)
    root, *keys = read.path
    root = {"container": "instance", "config_get": "config"}.get(root, root)
    return (root, *keys[: 2 if root == "devices" else 1])


def names_read(source: Source, dialect: str) -> frozenset[Name] | None:
    """Return the names that a template reads from its context, or None if they are unknown.

    The names are unknown if parsing exceeds a limit. They are also unknown if the template binds a name that
    the daemon provides, because some uses of this name do not read the context. A template that does not
    compile reads nothing.
    """
    # The build of a wheel imports this module without Jinja2.
    from ..pongo2.names_read import reads_of
    from ..pongo2.parse_with_includes import Compilation

    try:
        document = Compilation(source, DIALECTS[dialect]).parsed()
    except TemplateSyntaxError:
        return frozenset()
    except TemplaterError:
        return None
    return frozenset(map(name_of, reads_of(document))) if DAEMON_NAMES.isdisjoint(document.bound) else None


def layers_of(
    instance: Instance, plan: Plan, options: Collection[str], device_options: Collection[str]
) -> Layers:
    """Return the layers of configuration from which a plan's instance gets its values.

    ``options`` has the configuration keys that the command line sets. ``device_options`` has the devices of
    which the command line sets keys.
    """
    return Layers(instance, plan.instance, plan.metadata, options=options, device_options=device_options)
