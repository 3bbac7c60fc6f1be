"""A parser for instance descriptions, in every form that Incus and LXD print or store.

* ``incus config show``, with or without ``--expanded``
* ``incus list -f json``
* ``incus query /1.0/instances/NAME``, with or without the envelope of the API
* the files backup.yaml and index.yaml of a backup
* templater's short form, which has the same keys

Scalars become the strings that the daemons store.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from ..model.errors import InputError, LimitError, UsageError
from ..model.instance import (
    CONTAINER,
    EXPANDED_PROFILE,
    VIRTUAL_MACHINE,
    Expanded,
    Instance,
    Profile,
)
from ..model.instance_name import MAX_NAME
from ..model.source import Source, Span
from ..model.unprintable_characters import printable, whole_characters
from .go_scalars import is_merge, is_null
from .metadata_yaml import suggestion
from .yaml_nodes import MIB, Limits, Node, Scalar, YamlError, child, merged_nodes, parse, size_text
from .yaml_nodes import Mapping as MappingNode
from .yaml_nodes import Sequence as SequenceNode

#: The limits of a description are high, because descriptions can contain large cloud-init documents.
#: In backup.yaml, each snapshot repeats the cloud-init documents.
LIMITS: Final = Limits(bytes=32 * MIB, nodes=1_000_000, expanded=1_000_000, compared=1 << 62)
MOST_PROFILES: Final = 10_000
#: If a JSON text has fewer commas and opening brackets, `count_values` counts even those inside strings.
_MOST_UNCOUNTED: Final = 100_000
#: the maximum number of names that a message lists
MOST_SHOWN: Final = 20

#: the position of a value in a document: the keys and indexes that lead from the root to the value
Path: TypeAlias = tuple[str | int, ...]

_LIST_HINT = "`incus list NAME -f json` prints an instance with its profiles expanded"


def read_instance(
    source: "Source | Document | None",
    pick: str = "",
    *,
    name: str | None = None,
    type: str | None = None,
    profiles: Iterable[Source | Profile] = (),
    config: Mapping[str, str] | None = None,
    devices: Mapping[str, Mapping[str, str]] | None = None,
    expanded: bool | None = None,
) -> Instance:
    """Parse an instance description, apply overrides, and return the instance.

    * ``source``: a text or a parsed Document; None stands for a container named ``c1``
    * ``pick``: the name of an instance in a list
    * ``profiles``: profiles or their YAML texts
    * ``expanded``: whether the description includes the keys and devices of its profiles; None infers the
      answer
    * other arguments: values that override the description

    The instance's ``notes`` list every assumption. Raises InputError for an invalid description, RefusedError
    for an invalid name, and UsageError for invalid arguments.
    """
    given = tuple(p if isinstance(p, Profile) else read_profile(p) for p in profiles)
    if source is None:
        instance = Instance(profiles=given)
    else:
        document = source if isinstance(source, Document) else Document.read(source)
        with document.places():
            instance = document.select(pick).instance(given, expanded)
        instance = _with_name(instance, document.source, name)
    return overridden(instance, name=name, type=type, config=config or {}, devices=devices or {})


def read_instances(source: Source) -> list[Instance]:
    """Parse a list of instances, or the description of a single instance.

    The names are not checked. Raises InputError if the text is invalid.
    """
    document = Document.read(source)
    with document.places():
        found = [description.instance((), None) for description in _descriptions(document.value)]
    return [_with_name(instance, source, None) for instance in found]


def described(value: Any, where: str) -> Instance:
    """Return the instance that a decoded JSON value describes. Do not check its name, which can be empty.

    Raises InputError if the value is invalid. ``where`` replaces the file name in messages.
    """
    document = Document(Source(where, ""), value, None)
    with document.places():
        return _description(value, ()).instance((), None)


def read_profile(source: Source) -> Profile:
    """Parse a profile in the form that ``incus profile show`` prints.

    A profile without a name is named after its file. Raises InputError if the text is invalid.
    """
    document = Document.read(source)
    with document.places():
        return _profile(document.value, (), _stem(source.name))


def overridden(
    instance: Instance,
    *,
    name: str | None = None,
    type: str | None = None,
    config: Mapping[str, str],
    devices: Mapping[str, Mapping[str, str]],
) -> Instance:
    """Return a copy of an instance, changed by the given overrides.

    Raises UsageError for an invalid value.
    """
    for about, given in (
        ("config", config),
        *((f"device '{device}'", devices[device]) for device in devices),
    ):
        _require_texts(about, given)
    local = {**instance.config, **config}
    # ``incus config set`` also removes a key if its value is empty.
    for key in [key for key, value in config.items() if value == ""]:
        del local[key]
    inherited = instance.expanded_devices()
    own = dict(instance.devices)
    for device, keys in devices.items():
        # ``incus launch`` also leaves the other keys of the device unchanged.
        own[device] = {**inherited.get(device, {}), **keys}
        if "type" not in own[device]:
            hint = f"set a type, for example -d {device},type=nic,network=incusbr0"
            raise UsageError(f"device '{device}' has no type, and no profile defines it", hint=hint)
    obsolete = ("the name " if name is not None else None, "the type " if type is not None else None)
    return instance.replace(
        name=instance.name if name is None else name,
        type=instance.type if type is None else instance_type(type),
        config=local,
        devices=own,
        notes=tuple(
            note for note in instance.notes if not any(start and note.startswith(start) for start in obsolete)
        ),
    )


def _require_texts(about: str, given: Mapping[str, str]) -> None:
    for key, value in given.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise UsageError(
                f"{about}: the value of {key!r} is {value!r}, not a string",
                hint="the daemons store strings: write 'true' or '1'",
            )


def instance_type(text: str) -> str:
    """Parse the name of an instance type. Raises UsageError if it is unknown."""
    types = {CONTAINER: CONTAINER, VIRTUAL_MACHINE: VIRTUAL_MACHINE, "vm": VIRTUAL_MACHINE}
    if text not in types:
        raise UsageError(f"unknown instance type '{text}'", hint="use the type container or virtual-machine")
    return types[text]


def _with_name(instance: Instance, source: Source, name: str | None) -> Instance:
    """Name the instance after the file ``source`` if neither the description nor the user gives a name."""
    if instance.name or name is not None:
        return instance
    stem = _stem(source.name)
    if stem:
        note = f"the name '{stem}' is taken from the file name: the description has no name (see --name)"
    else:
        note = "the name 'c1' is assumed: the description has no name (see --name)"
    instance.name = stem or "c1"
    instance.notes = (*instance.notes, note)
    return instance


def _stem(file: str) -> str:
    """Return a file's name without its directory and suffix, or an empty string for standard input."""
    last = file.replace("\\", "/").rpartition("/")[2]
    return "" if last in ("-", "<stdin>") else last.partition(".")[0]


# ---------------------------------------------------------------------------------------------
# Conversion of text to values. A value is a string, a boolean (only from JSON), None, a list or a mapping.


class _InvalidValue(Exception):
    """An error for the value at ``path``. `Document.places` converts it into an InputError."""

    def __init__(self, path: Path, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.message = message
        self.hint = hint


class Document:
    """A parsed text. For YAML, ``root`` is the tree of nodes, which supplies the positions for errors."""

    # This class is not a dataclass, because importing dataclasses would slow down a hook without a cache.
    __slots__ = ("_named", "root", "source", "value")

    def __init__(self, source: Source, value: Any, root: Node | None) -> None:
        self.source = source
        self.value = value
        self.root = root
        #: the descriptions by name, or None before an instance was selected by its name
        self._named: dict[str, list[_Description]] | None = None

    @classmethod
    def read(cls, source: Source) -> "Document":
        """Parse a text as JSON or YAML. Raises InputError if it is invalid."""
        if source.text.lstrip("\ufeff \t\r\n")[:1] not in ("[", "{"):
            return cls.of_yaml(source)
        if len(source.text) > LIMITS.bytes:
            raise LimitError(f"{source.name} is larger than {size_text(LIMITS.bytes)}", source.span(0))
        try:
            text = source.text.lstrip("\ufeff")
            if count_values(text) > LIMITS.nodes:
                raise LimitError(f"{source.name} has more than {LIMITS.nodes} values", source.span(0))
            return cls(source, _json(text), None)
        except json.JSONDecodeError as error:
            wrong = InputError(
                f"not JSON: {error.msg.lower()}", source.span(min(error.pos, len(source.text)))
            )
        except RecursionError:
            raise LimitError("the JSON is nested too deeply", source.span(0)) from None
        try:
            return cls.of_yaml(source)  # A text that begins with a bracket can be YAML, too.
        except YamlError:
            raise wrong from None

    @classmethod
    def of_yaml(cls, source: Source) -> "Document":
        root = parse(source, "v2", LIMITS)
        return cls(root.source if root else source, None if root is None else _value(root), root)

    @contextmanager
    def places(self) -> Iterator[None]:
        """Convert each _InvalidValue that is raised in this context into an InputError with its position."""
        try:
            yield
        except _InvalidValue as wrong:
            where = _format_path(wrong.path)
            message = f"{where}: {wrong.message}" if where else wrong.message
            raise InputError(message, self.span(wrong.path), wrong.hint) from None

    def select(self, pick: str) -> "_Description":
        """Return the only description, or the description with the name ``pick``."""
        if pick and self._named is None:
            self._named = {}
            for description in _descriptions(self.value):
                self._named.setdefault(description.name, []).append(description)
        if self._named is not None and len(self._named.get(pick, ())) == 1:
            return self._named[pick][0]
        return _select(self.value, pick)

    def span(self, path: Path) -> Span:
        if self.root is None:
            return self.source.span(0)
        node = self.root
        for step in path:
            below = child(node, step)
            if below is None:
                break
            node = below
        return node.span


def _json(text: str) -> Any:
    value = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    return whole(value) if has_surrogates(text) else value


def count_values(text: str) -> int:
    """Estimate the number of values in a JSON text from its commas and brackets, without decoding it."""
    count = text.count(",") + text.count("[") + text.count("{")
    if count < _MOST_UNCOUNTED:
        return count
    import re

    string = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
    strings = re.compile(string, re.DOTALL)
    # Count in parts, because `sub` keeps all pieces of its text in memory. A part never ends in a string.
    parts = re.compile(rf'(?:[^"]|{string}){{1,100000}}+', re.DOTALL)
    outside = (strings.sub("", found[0]) for found in parts.finditer(text))
    return sum(part.count(",") + part.count("[") + part.count("{") for part in outside)


def has_surrogates(text: str) -> bool:
    """Return whether a JSON text may contain escaped surrogates, which Go decodes differently."""
    return "\\ud" in text or "\\uD" in text


def whole(value: Any) -> Any:
    """Return a decoded JSON value in which each lone surrogate is replaced by U+FFFD, as in Go."""
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {whole(key): whole(item) for key, item in value.items()}
    return value


def _value(node: Node) -> Any:
    if isinstance(node, Scalar):
        return None if is_null(node, "v2") else node.text
    if isinstance(node, SequenceNode):
        return [_value(child) for child in node.children]
    assert isinstance(node, MappingNode)
    found: dict[str, Any] = {}
    merges: list[dict[str, Any]] = []
    for key, value in node.pairs():
        if not isinstance(key, Scalar):
            raise InputError(f"a key must be text, not a {key.kind}", key.span)
        if is_merge(key):
            for mapping in merged_nodes(key, value):
                merged = _value(mapping)
                if not isinstance(merged, dict):
                    raise InputError("'<<' needs a mapping or a list of mappings", mapping.span)
                merges.append(merged)
        else:
            found[key.text] = _value(value)
    if not merges:
        return found
    # The mapping's own keys override merged keys. The first merged mapping overrides later merged mappings.
    combined: dict[str, Any] = {}
    for merged in reversed(merges):
        combined.update(merged)
    combined.update(found)
    return combined


def _format_path(path: Path) -> str:
    return ".".join(str(step) for step in path)


# ---------------------------------------------------------------------------------------------
# Conversion of values to an instance

_OURS = ("name", "type", "architecture", "ephemeral", "privileged", "config", "devices", "profiles")
_API = (
    "backups", "created_at", "description", "expanded_config", "expanded_devices", "last_used_at",
    "location", "project", "restore", "size", "snapshots", "stateful", "state", "status", "status_code",
    "target",
)  # fmt: skip
KNOWN_KEYS: Final = frozenset(_OURS + _API)
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "y": True}
_BOOLEANS |= {"false": False, "no": False, "off": False, "0": False, "n": False, "": False}


class _Description:
    """The description of one instance: a mapping, its path, and the profiles that the document defines."""

    __slots__ = ("defined", "path", "value")

    def __init__(self, value: dict[str, Any], path: Path, defined: tuple[Profile, ...] = ()) -> None:
        self.value = value
        self.path = path
        self.defined = defined

    @property
    def name(self) -> str:
        return self.text("name")

    def text(self, key: str) -> str:
        return _text(self.value.get(key), (*self.path, key))

    def boolean(self, key: str) -> bool:
        text = self.text(key).lower()
        if text not in _BOOLEANS:
            raise _InvalidValue((*self.path, key), f"invalid boolean '{text}'", "write true or false")
        return _BOOLEANS[text]

    def instance(self, given: tuple[Profile, ...], expanded: bool | None) -> Instance:
        config = _texts(self.value.get("config"), (*self.path, "config"))
        devices = _devices(self.value.get("devices"), (*self.path, "devices"))
        profiles, notes = self.layers(given, config, devices, expanded)
        merged = self.expanded(given, config, devices, profiles)
        if profiles is None:
            config = _texts(self.value.get("expanded_config"), (*self.path, "expanded_config")) or config
            path = (*self.path, "expanded_devices")
            devices = _devices(self.value.get("expanded_devices"), path) or devices
        if self.boolean("privileged"):
            config.setdefault("security.privileged", "true")
        kind, assumed = self.kind(config)
        made = Instance(
            type=kind,
            architecture=self.text("architecture") or "x86_64",
            ephemeral=self.boolean("ephemeral"),
            config=config,
            devices=devices,
            profiles=profiles or (),
            notes=(*assumed, *notes, *self.unknown()),
            status=self.text("status"),
            recorded=not {"status", "created_at", "last_used_at"}.isdisjoint(self.value),
            expanded=merged,
        )
        # The name can be empty or invalid: the caller may replace it before the constructor checks it.
        made.name = self.name
        return made

    def expanded(
        self,
        given: tuple[Profile, ...],
        config: Mapping[str, str],
        devices: Mapping[str, Any],
        profiles: tuple[Profile, ...] | None,
    ) -> Expanded | None:
        """Return the names of the profiles with unknown contents, and of the instance's own keys and devices.

        Return None if the contents of all profiles are known.
        """
        names = tuple(profile.name for profile in self.profiles())
        if profiles is None and not {"expanded_config", "expanded_devices"}.isdisjoint(self.value):
            return Expanded(names, frozenset(config), frozenset(devices))
        if profiles is None:
            return Expanded(names)
        if len(profiles) == len(given) + 1 and profiles[0].name == EXPANDED_PROFILE:
            known = {profile.name for profile in given}
            names = tuple(name for name in names if name not in known)
            return Expanded(names, frozenset(config), frozenset(devices))
        return None

    def kind(self, config: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
        text = self.text("type")
        if text:
            try:
                return instance_type(text), ()
            except UsageError as error:
                raise _InvalidValue((*self.path, "type"), error.message, error.hint) from None
        vm_key = next((key for key in config if _only_on_vms(key)), None)
        if vm_key:
            return VIRTUAL_MACHINE, (
                f"the type virtual-machine is assumed because of the key '{vm_key}' (see --type)",
            )
        if self.name and "stateful" not in self.value:
            # Every daemon prints the key "stateful". A named instance without this key is described in
            # templater's short form. The short form's default type is container, so no note is necessary.
            return CONTAINER, ()
        return CONTAINER, ("the type container is assumed: the description has no type (see --type)",)

    def layers(
        self,
        given: tuple[Profile, ...],
        config: Mapping[str, str],
        devices: Mapping[str, Any],
        expanded: bool | None,
    ) -> tuple[tuple[Profile, ...] | None, tuple[str, ...]]:
        """Return the instance's profiles, and notes on the assumptions of this function.

        Return None instead of the profiles if the description already includes their keys. Raises
        _InvalidValue if the contents of a profile are missing.
        """
        listed = self.profiles()
        known = {profile.name: profile for profile in (*self.defined, *given)}
        known.update((profile.name, profile) for profile in listed if profile.config or profile.devices)
        names = [profile.name for profile in listed]
        missing = [name for name in names if name not in known]
        added = [profile for profile in given if profile.name not in names]
        if expanded and given:
            raise UsageError(
                "profiles can't be applied to a description that is already expanded", hint=_LIST_HINT
            )
        has_expanded = "expanded_config" in self.value or "expanded_devices" in self.value
        if given and missing and has_expanded:
            return self.over_expanded(given)
        if expanded or (not given and missing and (has_expanded or "profiles" not in self.value)):
            return None, ()
        if missing and not given and expanded is None and _looks_expanded(config, devices):
            return None, (
                f"assuming that the description already includes the profiles {_quote_all(missing)}:"
                " every device is present (see --expanded)",
            )
        if missing:
            raise _InvalidValue(
                (*self.path, "profiles"),
                f"the contents of {_quote_all(missing)} were not given",
                "give the profiles with -p, or add --expanded if `config show --expanded` printed the"
                f" description; {_LIST_HINT}",
            )
        notes = tuple(
            f"profile '{profile.name}' is applied last: the description does not list it" for profile in added
        )
        return (*(known[name] for name in names), *added), notes if names else ()

    def over_expanded(self, given: tuple[Profile, ...]) -> tuple[tuple[Profile, ...], tuple[str, ...]]:
        """Return profiles and notes for an expanded description, if the contents of its profiles are unknown.

        The first profile has all expanded keys and devices. The user's profiles, ``given``, override it.
        """
        below = Profile(
            EXPANDED_PROFILE,
            _texts(self.value.get("expanded_config"), (*self.path, "expanded_config")),
            _devices(self.value.get("expanded_devices"), (*self.path, "expanded_devices")),
        )
        notes = tuple(
            f"the description has only the merged keys of its profiles, so profile '{name}' overrides every"
            f" other profile; if a key was removed from '{name}', the key keeps its merged value"
            for name in (printable(profile.name) for profile in given)
        )
        return (below, *given), notes

    def profiles(self) -> list[Profile]:
        """Return the profiles that the description lists.

        If the description has only the name of a profile, as from the daemons, return it without keys and
        devices.
        """
        value, path = self.value.get("profiles"), (*self.path, "profiles")
        if value is None:
            return []
        if not isinstance(value, list):
            raise _InvalidValue(path, f"must be a list of profiles, not {_kind(value)}")
        if len(value) > MOST_PROFILES:
            raise LimitError(f"the description lists more than {MOST_PROFILES} profiles")
        return [
            _profile(item, (*path, index), "")
            if isinstance(item, dict)
            else Profile(_text(item, (*path, index)))
            for index, item in enumerate(value)
        ]

    def unknown(self) -> tuple[str, ...]:
        unknown = [key for key in self.value if key not in KNOWN_KEYS]
        notes = [
            f"unknown key '{_shown(key)}' is ignored{suggestion(key, _OURS)}" for key in unknown[:MOST_SHOWN]
        ]
        if len(unknown) > MOST_SHOWN:
            notes.append(f"{len(unknown) - MOST_SHOWN} more unknown keys are ignored")
        return tuple(notes)


def _only_on_vms(key: str) -> bool:
    return key.startswith("volatile.vm.") or key in ("volatile.vsock_id", "security.secureboot")


def _looks_expanded(config: Mapping[str, str], devices: Mapping[str, Mapping[str, str]]) -> bool:
    """Return whether the description seems to include the devices of its profiles.

    Configuration keys may still come from a profile, so the caller adds a note.
    """
    # The description must contain a root disk, and each network interface that has volatile keys.
    root = any(d.get("type") == "disk" and d.get("path") == "/" for d in devices.values())
    interfaces = {match[1] for key in config if (match := re.fullmatch(_VOLATILE_DEVICE, key))}
    return root and interfaces <= devices.keys()


_VOLATILE_DEVICE = r"volatile\.(.+)\.(?:hwaddr|host_name)"


def _select(value: Any, pick: str) -> _Description:
    found = _descriptions(value)
    if pick:
        matching = [description for description in found if description.name == pick]
        if not matching and len(found) == 1 and not found[0].name:
            return found[0]
    else:
        matching = found
    if len(matching) == 1:
        return matching[0]
    names = _quote_all([description.name for description in found])
    if not found:
        raise _InvalidValue((), "the list is empty")
    if not matching:
        raise _InvalidValue((), f"unknown instance '{_shown(pick)}'", f"the list contains {names}")
    raise _InvalidValue(
        (),
        f"the file describes {len(found)} instances",
        f"append #NAME to the file name to select one of {names}",
    )


def _descriptions(value: Any, path: Path = ()) -> list[_Description]:
    if isinstance(value, list):
        return [_description(item, (*path, index)) for index, item in enumerate(value)]
    if isinstance(value, dict) and "metadata" in value and ("status_code" in value or "type" in value):
        return _descriptions(value["metadata"], (*path, "metadata"))  # the envelope of an API response
    return [_description(value, path)]


def _description(value: Any, path: Path) -> _Description:
    if not isinstance(value, dict):
        raise _InvalidValue(path, f"an instance must be a mapping, not {_kind(value)}")
    if "backend" in value and "pool" in value and "architecture" not in value:  # index.yaml of a backup
        if not isinstance(value.get("config"), dict):
            raise _InvalidValue(
                path,
                "this index.yaml comes from an old release and does not describe the instance",
                "pass the backup itself as SRC, or its backup.yaml with -i",
            )
        return _description(value["config"], (*path, "config"))
    # In backup.yaml, LXD 6 and 5.21 use the key "instance". Incus and older releases of LXD use "container".
    for key in ("instance", "container"):
        if isinstance(value.get(key), dict):
            siblings = value.get("profiles") or []
            if not isinstance(siblings, list):
                raise _InvalidValue((*path, "profiles"), f"must be a list of profiles, not {_kind(siblings)}")
            defined = tuple(_profile(item, (*path, "profiles", i), "") for i, item in enumerate(siblings))
            return _Description(value[key], (*path, key), defined)
    if "templates" in value or "creation_date" in value:
        raise _InvalidValue(
            path, "this is an image's metadata.yaml, not an instance", "pass the image as SRC"
        )
    if "used_by" in value and "architecture" not in value:
        raise _InvalidValue(path, "this is a profile, not an instance", "pass a profile with -p")
    if value and KNOWN_KEYS.isdisjoint(value):
        raise _foreign(value, path)
    return _Description(value, path)


_SHOWN_KEYS = 5
#: keys that identify other kinds of files, with a name for each kind
_FOREIGN_KEYS = {
    "services": "a Compose file", "apiVersion": "a Kubernetes object", "network": "a netplan file",
    "packages": "cloud-init user-data", "users": "cloud-init user-data", "runcmd": "cloud-init user-data",
}  # fmt: skip


def _foreign(value: Mapping[str, Any], path: Path) -> _InvalidValue:
    """Return the error for a mapping without any key of an instance, such as a netplan file."""
    # Without this error, templater would read the mapping as an instance without configuration.
    guess = next((f"this looks like {what}: " for key, what in _FOREIGN_KEYS.items() if key in value), "")
    shown = [*value][:_SHOWN_KEYS]
    unknown = ", ".join(f"'{key}'" for key in shown)
    more = f" and {len(value) - len(shown)} more" if len(value) > len(shown) else ""
    more += "" if guess else next(filter(None, (suggestion(key, _OURS) for key in shown)), "")
    return _InvalidValue(
        path,
        f"{guess}none of the keys belongs to an instance: {unknown}{more}",
        "pass the output of `incus config show NAME` or `incus list -f json`",
    )


def _profile(value: Any, path: Path, name: str) -> Profile:
    if not isinstance(value, dict):
        raise _InvalidValue(path, f"a profile must be a mapping, not {_kind(value)}")
    if "templates" in value or "creation_date" in value:
        raise _InvalidValue(path, "this is an image's metadata.yaml, not a profile", "pass the image as SRC")
    return Profile(
        _text(value.get("name"), (*path, "name")) or name,
        _texts(value.get("config"), (*path, "config")),
        _devices(value.get("devices"), (*path, "devices")),
    )


def _devices(value: Any, path: Path) -> dict[str, Mapping[str, str]]:
    return {
        name: _texts(device, (*path, name)) for name, device in _mapping(value, path, "of devices").items()
    }


def _texts(value: Any, path: Path) -> dict[str, str]:
    mapping = _mapping(value, path, "of keys")
    if {str}.issuperset(map(type, mapping.values())):
        return mapping  # a shortcut for the common case, because a list can contain thousands of instances
    return {key: _text(item, (*path, key)) for key, item in mapping.items()}


def _mapping(value: Any, path: Path, of_what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _InvalidValue(path, f"must be a mapping {of_what}, not {_kind(value)}")
    return value


def _text(value: Any, path: Path) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    raise _InvalidValue(path, f"must be text, not {_kind(value)}", "start a text of several lines with '|'")


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "a list"
    return "a mapping" if isinstance(value, dict) else "nothing" if value is None else "text"


def _quote_all(names: Sequence[str]) -> str:
    """Return the names in quotes as one text. Long lists are cut: "'a', 'b' and 3 more"."""
    quoted = ", ".join([f"'{_shown(name)}'" for name in names[:MOST_SHOWN]])
    more = len(names) - MOST_SHOWN
    return f"{quoted} and {more} more" if more > 0 else quoted


def _shown(name: str) -> str:
    return printable(name) if len(name) <= MAX_NAME else f"{printable(name[:MAX_NAME])}…"
