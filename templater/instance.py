"""What a template may know of an instance, kept in the layers it comes from."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

CONTAINER = "container"
VIRTUAL_MACHINE = "virtual-machine"


class Profile:
    """A named layer of configuration and devices."""

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


class Instance:
    """An instance as the daemons describe it.

    ``config`` and ``devices`` are the instance's own (local) ones; ``profiles`` stand in order.
    What a template sees is ``expanded_config()`` and ``expanded_devices()``. An instance read from
    an expanded description has no profiles and everything in its own layer.
    """

    __slots__ = ("architecture", "config", "devices", "ephemeral", "name", "notes", "profiles", "type")

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
    ) -> None:
        self.name = name
        self.type = type
        self.architecture = architecture
        self.ephemeral = ephemeral
        self.config: Mapping[str, str] = {} if config is None else config
        self.devices: Mapping[str, Mapping[str, str]] = {} if devices is None else devices
        self.profiles = profiles
        #: what reading had to assume, for stderr: "the name comes from the file's stem"
        self.notes = notes

    @property
    def is_vm(self) -> bool:
        return self.type == VIRTUAL_MACHINE

    @property
    def privileged(self) -> bool:
        # Incus: shared/util IsTrueOrEmpty's sibling IsTrue: these four spellings, any case
        value = self.expanded_config().get("security.privileged", "")
        return value.lower() in ("true", "1", "yes", "on")

    def expanded_config(self) -> "dict[str, str]":
        """Profiles in order, later over earlier, the instance's own keys over all."""
        config: dict[str, str] = {}
        for profile in self.profiles:
            config.update(profile.config)
        config.update(self.config)
        return config

    def expanded_devices(self) -> "dict[str, Mapping[str, str]]":
        """As the configuration; a device is replaced whole by name, never merged key by key."""
        devices: dict[str, Mapping[str, str]] = {}
        for profile in self.profiles:
            devices.update(profile.devices)
        devices.update(self.devices)
        return devices
