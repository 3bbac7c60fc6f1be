"""An instance and its profiles. The instance and each profile have their own configuration and devices."""

from .instance_name import require_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

CONTAINER = "container"
VIRTUAL_MACHINE = "virtual-machine"

#: the name of a pseudo-profile with the keys of an expanded description; daemons refuse this name
EXPANDED_PROFILE = "expanded keys"

#: the configuration keys that only a daemon sets, when it creates an instance
_DAEMON_KEYS = ("volatile.uuid", "volatile.base_image", "volatile.idmap.base", "volatile.idmap.next")


class Profile:
    """A profile: a named set of configuration keys and devices, which instances can use."""

    __slots__ = ("config", "devices", "name")

    def __init__(
        self,
        name: str,
        config: "Mapping[str, str] | None" = None,
        devices: "Mapping[str, Mapping[str, str]] | None" = None,
    ) -> None:
        self.name = name
        self.config: Mapping[str, str] = {} if config is None else config
        self.devices: Mapping[str, Mapping[str, str]] = {} if devices is None else devices


class Expanded:
    """Facts about a description whose keys already include the keys of its profiles.

    * ``profiles``: the names of the profiles whose contents are unknown
    * ``config`` and ``devices``: the names of the local keys and devices, both None if unknown
    """

    __slots__ = ("config", "devices", "profiles")

    def __init__(
        self,
        profiles: "tuple[str, ...]",
        config: "frozenset[str] | None" = None,
        devices: "frozenset[str] | None" = None,
    ) -> None:
        self.profiles = profiles
        self.config = config
        self.devices = devices


class Instance:
    """An instance as the daemons describe it.

    ``config`` and ``devices`` are local. ``profiles`` apply in the given order. Templates see
    ``expanded_config()`` and ``expanded_devices()``. Raises RefusedError if no runtime accepts the name.
    """

    __slots__ = (
        "architecture", "config", "devices", "ephemeral", "expanded", "name", "notes", "profiles", "recorded",
        "status", "type",
    )  # fmt: skip

    def __init__(
        self,
        name: str = "c1",
        type: str = CONTAINER,
        architecture: str = "x86_64",
        ephemeral: bool = False,
        config: "Mapping[str, str] | None" = None,
        devices: "Mapping[str, Mapping[str, str]] | None" = None,
        profiles: "tuple[Profile, ...]" = (),
        notes: "tuple[str, ...]" = (),
        status: str = "",
        recorded: bool = False,
        expanded: "Expanded | None" = None,
    ) -> None:
        require_name(name)
        self.name = name
        self.type = type
        self.architecture = architecture
        self.ephemeral = ephemeral
        self.config: Mapping[str, str] = {} if config is None else config
        self.devices: Mapping[str, Mapping[str, str]] = {} if devices is None else devices
        self.profiles = profiles
        #: assumptions of the parser, to be shown to the user, such as an assumed type
        self.notes = notes
        #: "Running", "Stopped", …, or empty if the description has no status
        self.status = status
        #: True if the description has times or a status, which only a daemon writes
        self.recorded = recorded
        #: facts about an expanded description; None if all profiles are known
        self.expanded = expanded

    def __repr__(self) -> str:
        return f"Instance({self.name!r}, {self.type!r})"

    def replace(self, **fields: "Any") -> "Instance":
        """Return a copy with the given fields replaced."""
        return Instance(**{name: fields.get(name, getattr(self, name)) for name in self.__slots__})

    @property
    def exists(self) -> bool:
        """True if a daemon has created the instance: the description has values that only a daemon sets."""
        return bool(self.status) or self.recorded or any(key in self.config for key in _DAEMON_KEYS)

    @property
    def is_vm(self) -> bool:
        return self.type == VIRTUAL_MACHINE

    @property
    def privileged(self) -> bool:
        # The function IsTrue in Incus's shared/util accepts true, 1, yes and on, in upper or lower case.
        value = self.expanded_config().get("security.privileged", "")
        return value.lower() in ("true", "1", "yes", "on")

    def expanded_config(self) -> "dict[str, str]":
        """Return the merged configuration.

        Later profiles override earlier profiles, and local keys override all profiles.
        """
        config: dict[str, str] = {}
        for profile in self.profiles:
            config.update(profile.config)
        config.update(self.config)
        return config

    def expanded_devices(self) -> "dict[str, Mapping[str, str]]":
        """Return the merged devices.

        A device replaces an earlier device of the same name completely. The keys of the two devices are not
        merged.
        """
        devices: dict[str, Mapping[str, str]] = {}
        for profile in self.profiles:
            devices.update(profile.devices)
        devices.update(self.devices)
        return devices
