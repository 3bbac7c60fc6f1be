"""What a template may know of an instance, kept in the layers it comes from."""

from .errors import RefusedError
from .source import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

CONTAINER = "container"
VIRTUAL_MACHINE = "virtual-machine"

MAX_NAME = 255

#: keys that a daemon sets when it makes an instance; users set none of them
_DAEMON_KEYS = ("volatile.uuid", "volatile.base_image", "volatile.idmap.base", "volatile.idmap.next")


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

    __slots__ = (
        "architecture", "config", "devices", "ephemeral", "name", "notes", "profiles", "recorded", "status",
        "type",
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
        #: "Running", "Stopped", …, where the description says it
        self.status = status
        #: the description carries times or a status, which only a daemon writes
        self.recorded = recorded

    def __repr__(self) -> str:
        return f"Instance({self.name!r}, {self.type!r})"

    def replace(self, **fields: "Any") -> "Instance":
        """Return a copy in which these fields differ."""
        return Instance(**{name: fields.get(name, getattr(self, name)) for name in self.__slots__})

    @property
    def exists(self) -> bool:
        """Whether a daemon has made this instance already: its description holds what only a daemon sets."""
        return bool(self.status) or self.recorded or any(key in self.config for key in _DAEMON_KEYS)

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


def require_name(name: str, *, typed: bool = False, daemon: bool = False) -> None:
    """Raise RefusedError for a name that no instance can have.

    ``typed`` refuses what a user can only have mistyped, ``daemon`` what LXD and Incus refuse.
    """
    problem = _name_problem(name)
    if typed and not problem:
        problem = _typing_problem(name)
    if daemon and not problem:
        problem = daemon_name_problem(name)
    if problem:
        raise RefusedError(
            f"invalid instance name '{printable(name[:MAX_NAME])}': {problem}", hint="for example: web1"
        )


def _typing_problem(name: str) -> str:
    if any(character.isspace() for character in name):
        return "it has a blank"
    return "it begins with '-'" if name[0] == "-" else ""


def _name_problem(name: str) -> str:
    """Why a name can't be a directory's, or does not fit into a line."""
    if not name:
        return "it is empty"
    if name in (".", "..") or "/" in name:
        return "it would name another directory"
    if not name.isprintable() or name.strip() != name:
        return "it has invisible characters"
    if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME:
        return f"it has more than {MAX_NAME} bytes"
    return ""


def daemon_name_problem(name: str) -> str:
    """Why LXD and Incus refuse a name, empty if they take it. Observed on Incus 6.0.4."""
    if not 1 <= len(name) <= 63:
        return "LXD and Incus allow 1 to 63 characters"
    if not name.isascii() or not name.replace("-", "a").isalnum():
        return "LXD and Incus allow letters, digits and '-'"
    if name[0] == "-" or name[-1] == "-":
        return "LXD and Incus refuse '-' at the start and at the end"
    if name.isdigit():
        return "LXD and Incus refuse a number"
    return ""
