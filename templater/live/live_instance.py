"""One running instance: its description, its own metadata and templates, and its files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..image.limits import DEFAULT, Limits
from ..image.name_checks import bad_template_name
from ..model.entry import FILE, Entry, TemplateFile
from ..model.errors import InputError, LimitError
from ..model.pending_trigger import PENDING_KEY
from ..model.source import Source
from ..model.unprintable_characters import printable
from .address import Address, escaped
from .connect import Daemon
from .live_rootfs import LiveRootfs, unreadable_reason
from .rest_client import Answer, Client, DaemonError

#: the key that Incus sets for an application container, which has no templates
_OCI = "volatile.container.oci"


class MissingInstanceError(InputError):
    """The error for an instance that does not exist, or no longer exists."""


class LiveImage:
    """An instance's own metadata and templates, as an image."""

    complete = True

    def __init__(self, daemon: Client, address: Address, limits: Limits = DEFAULT) -> None:
        self.name = address.shown
        self.limits = limits
        self._daemon = daemon
        self._path = f"/1.0/instances/{escaped(address.name)}/metadata"
        self._address = address
        self._metadata: Source | None = None
        self._rules: Mapping[str, Any] = {}
        self._templates: dict[str, TemplateFile] = {}
        #: False if the instance has no metadata.yaml
        self.has_metadata = True
        #: the seconds since 1970 at which the image was created, or 0
        self.creation_date = 0
        #: whether a template was missing, which can mean that the whole instance is missing
        self.missed = False
        #: limit in bytes on all further answers together; low while another thread reads this instance ahead
        self.most = math.inf

    def __repr__(self) -> str:
        return f"LiveImage({self.name!r})"

    def read_metadata(self) -> Source:
        """Return the metadata as YAML.

        The daemon does not send the text of metadata.yaml, but its values as JSON.
        """
        if self._metadata is None:
            answer = self._get(self._path + self._address.query(), 2 * self.limits.metadata_bytes)
            if answer.status != 200:
                raise self._daemon.error(answer)
            self.has_metadata = "etag" in answer.headers
            try:
                value = json.loads(answer.body)["metadata"]
                text = _yaml(value, 4 * self.limits.metadata_bytes, self._daemon.check_open)
            except (ValueError, LookupError, TypeError, RecursionError):
                value = None
            if not isinstance(value, dict):
                raise InputError(f"'{self.name}': {self._daemon.name} sent metadata that is not JSON")
            created = value.get("creation_date")
            self.creation_date = created if isinstance(created, int) else 0
            templates = value.get("templates")
            self._rules = templates if isinstance(templates, dict) else {}
            self._metadata = Source(f"{self.name}/metadata.yaml", text)
        return self._metadata

    def rules(self) -> list[tuple[str, str]]:
        """Return the path and the template name of each rule. Either of them may be invalid."""
        self.read_metadata()
        return [
            (path, str(rule.get("template") or "") if isinstance(rule, dict) else "")
            for path, rule in self._rules.items()
        ]

    def read_templates(self, names: Iterable[str]) -> Mapping[str, TemplateFile]:
        wanted = dict.fromkeys(names)
        for name in wanted:
            if name not in self._templates:
                self._templates[name] = bad_template_name(name) or self._read(name)
        found = {name: self._templates[name] for name in wanted}
        if sum(len(file.data or b"") for file in self._templates.values()) > self.limits.templates_bytes:
            most = self.limits.templates_bytes
            raise LimitError(f"'{self.name}': its templates have more than {most} bytes")
        return found

    def _get(self, path: str, most: int) -> Answer:
        answer = self._daemon.get(path, int(min(most, self.most)))
        self.most -= len(answer.body)
        return answer

    def _read(self, name: str) -> TemplateFile:
        most = self.limits.template_bytes
        path = f"{self._path}/templates{self._address.query(path=name)}"
        try:
            answer = self._get(path, most)
        except LimitError:
            if self.most < most:
                raise
            error = LimitError(f"the template '{printable(name)}' is larger than {most} bytes")
            return TemplateFile(Entry(FILE), None, error)
        if answer.status == 404:
            self.missed = True
            return TemplateFile()
        if answer.status != 200:
            failure = self._daemon.error(answer)
            return TemplateFile(
                Entry(FILE), None, InputError(f"can't read the template '{printable(name)}': {failure.text}")
            )
        return TemplateFile(Entry(FILE, size=len(answer.body)), answer.body)


@dataclass(slots=True)
class LiveInstance:
    """An instance of a daemon.

    ``data`` is the instance's description from the daemon, and ``profiles`` are the instance's profiles.
    """

    daemon: Daemon
    address: Address
    data: Mapping[str, Any]
    profiles: list[Mapping[str, Any]]
    image: LiveImage
    rootfs: LiveRootfs
    #: why the daemon can't show the files, or empty
    unreadable: str = ""
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        return str(self.data.get("status") or "")

    @property
    def is_vm(self) -> bool:
        return self.data.get("type") == "virtual-machine"

    @property
    def config(self) -> Mapping[str, str]:
        """The instance's configuration, merged with the keys of its profiles."""
        found = self.data.get("expanded_config")
        return found if isinstance(found, dict) else {}

    @property
    def is_oci(self) -> bool:
        """Whether the instance is an application container, which has no templates."""
        return str(self.config.get(_OCI)).lower() in ("true", "1", "yes", "on")

    @property
    def pending(self) -> str:
        """The trigger that the next start runs before the trigger ``start``, or "" if none is pending."""
        config = self.data.get("config")
        return str(config.get(PENDING_KEY) or "") if isinstance(config, dict) else ""

    @property
    def description(self) -> Source:
        """The instance's description and the contents of its profiles, in the same form as backup.yaml."""
        value: Any = {"container": dict(self.data), "profiles": self.profiles}
        names = {str(profile.get("name")) for profile in self.profiles}
        if not names.issuperset(profile_names(self.data)):
            value = dict(self.data)  # if the contents of a profile are unknown, the expanded keys are used
        return Source(self.address.shown, json.dumps(value, ensure_ascii=False))

    def look(self) -> None:
        """Check whether the instance's files can be read.

        Raises InputError if the instance has no templates.
        """
        if self.is_oci:
            raise InputError(
                f"'{printable(self.address.shown)}' is an OCI application container, which has no templates"
            )
        self.image.read_metadata()
        self.unreadable = unreadable_reason(self.daemon.client, self.address)
        if self.unreadable:
            text = "existing files can't be read, so rendered files are not compared with them"
            self.notes = (f"{text}: {printable(self.unreadable)}",)
        if not self.image.has_metadata:
            self.notes += ("the instance has no metadata.yaml, so a start writes nothing",)

    def check_exists(self) -> None:
        """Raise MissingInstanceError if the instance was deleted or renamed while it was read."""
        # The daemon gives the same answer for a missing file and for a missing instance.
        if self.rootfs.missed or self.image.missed or self.unreadable:
            read_description(self.daemon, self.address)


def open_instance(daemon: Daemon, limits: Limits = DEFAULT) -> LiveInstance:
    """Read the instance whose name is in ``daemon.address``.

    Raises MissingInstanceError if the instance does not exist.
    """
    address = daemon.address
    data = read_description(daemon, address)
    made = describe_instance(daemon, address, data, read_profiles(daemon, address), limits)
    made.look()
    return made


def describe_instance(
    daemon: Daemon,
    address: Address,
    data: Mapping[str, Any],
    profiles: Mapping[str, Mapping[str, Any]],
    limits: Limits = DEFAULT,
) -> LiveInstance:
    """Return the instance with the description ``data``. This function sends no request.

    ``profiles`` has all profiles of the instance's project, by name.
    """
    used = [profiles[name] for name in dict.fromkeys(profile_names(data)) if name in profiles]
    rootfs = LiveRootfs(daemon.client, address)
    return LiveInstance(daemon, address, data, used, LiveImage(daemon.client, address, limits), rootfs)


def profile_names(data: Mapping[str, Any]) -> list[str]:
    """Return the names of the profiles in an instance's description."""
    found = data.get("profiles")
    return list(map(str, found)) if isinstance(found, list) else []


def read_description(daemon: Daemon, address: Address) -> Mapping[str, Any]:
    """Return the daemon's description of an instance."""
    try:
        data = daemon.client.json(f"/1.0/instances/{escaped(address.name)}{address.query()}")
    except DaemonError as error:
        if error.status == 404:
            place = f" in the project '{printable(address.project)}'" if address.project else ""
            hint = "" if address.project else "for another project, give --project or --all-projects"
            raise MissingInstanceError(
                f"{daemon.client.name} has no instance '{printable(address.name)}'{place}", hint=hint
            ) from None
        raise
    if not isinstance(data, dict) or data.get("name") != address.name:
        raise InputError(f"{daemon.client.name} sent an invalid description of '{printable(address.name)}'")
    return data


def read_profiles(daemon: Daemon, address: Address) -> dict[str, Mapping[str, Any]]:
    """Return the profiles of a project, by name. Return {} if the user may not see the profiles.

    ``address`` names the project.
    """
    try:
        return {
            str(profile.get("name")): {key: profile.get(key) for key in ("name", "config", "devices")}
            for profile in daemon.client.items(f"/1.0/profiles{address.query(recursion='1')}", "profile")
            if isinstance(profile, dict)
        }
    except DaemonError as error:
        if error.status not in (403, 404):
            raise
        return {}


def _yaml(value: Any, most: int, check: Callable[[], None]) -> str:
    """Return the value as JSON that is also valid YAML. The function ``check`` is called often.

    Raises ValueError for a lone surrogate, LimitError above ``most`` characters, and the errors of ``check``.
    """
    pieces = []
    for piece in json.JSONEncoder(ensure_ascii=False, indent=1).iterencode(value):
        check()
        pieces.append(piece)
        most -= len(piece)
        if most < 0:
            raise LimitError("the metadata is too large, or nested too deeply")
    text = "".join(pieces)
    text.encode()
    if text.isprintable():
        return text
    return "".join(c if c == "\n" or c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
