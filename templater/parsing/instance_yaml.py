"""Descriptions of instances, in every form that Incus and LXD print or store.

``incus config show`` (plain and ``--expanded``), ``incus list -f json``, ``incus query
/1.0/instances/NAME`` with or without its envelope, backup.yaml of Incus and of LXD 6, index.yaml of a
backup, and templater's short form with the same keys. Scalars become the strings that the daemons keep.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from ..model.errors import InputError, LimitError, UsageError
from ..model.instance import CONTAINER, VIRTUAL_MACHINE, Instance, Profile
from ..model.source import Source, Span, printable, whole_characters
from .metadata_yaml import is_merge, is_null, suggestion
from .yaml_nodes import MIB, Limits, Node, Scalar, YamlError, parse, size_text
from .yaml_nodes import Mapping as MappingNode
from .yaml_nodes import Sequence as SequenceNode

#: A description may hold the cloud-init bodies of a fleet; backup.yaml repeats them for each snapshot.
LIMITS: Final = Limits(bytes=64 * MIB, nodes=1_000_000, expanded=1_000_000)

#: the place of a value in a document: keys and indexes from the root
Path: TypeAlias = tuple[str | int, ...]

_LIST_HINT = "`incus list NAME -f json` prints an instance with its profiles expanded"


def read_instance(
    source: Source | None,
    pick: str = "",
    *,
    name: str | None = None,
    type: str | None = None,
    profiles: Iterable[Source | Profile] = (),
    config: Mapping[str, str] | None = None,
    devices: Mapping[str, Mapping[str, str]] | None = None,
    expanded: bool | None = None,
) -> Instance:
    """Return the instance that a text describes, with other values over it; for None a container ``c1``.

    ``pick`` names one of several. ``profiles`` are profiles, or texts of them. The output of ``config show``
    does not say whether it is ``--expanded``: with ``expanded`` unset, that is concluded from the devices.
    The instance's ``notes`` say what was assumed. Raises InputError or UsageError.
    """
    given = tuple(p if isinstance(p, Profile) else read_profile(p) for p in profiles)
    if source is None:
        instance = Instance(profiles=given)
    else:
        document = _Document.read(source)
        with document.places():
            instance = _picked(document.value, pick).instance(given, expanded)
        instance = _named(instance, source, name)
    return overridden(instance, name=name, type=type, config=config or {}, devices=devices or {})


def read_instances(source: Source) -> list[Instance]:
    """Return every instance of a text, which is a list or describes one."""
    document = _Document.read(source)
    with document.places():
        found = [description.instance((), None) for description in _descriptions(document.value)]
    return [_named(instance, source, None) for instance in found]


def described(value: Any, where: str) -> Instance:
    """Return the instance that a decoded JSON value describes; errors name its place ``where``."""
    document = _Document(Source(where, ""), value, None)
    with document.places():
        return _description(value, ()).instance((), None)


def read_profile(source: Source) -> Profile:
    """Return a profile as ``incus profile show`` prints it. The file names it if the text does not."""
    document = _Document.read(source)
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
    """Return a copy with these values.

    As with ``incus launch``, a device begins as the profiles have it; as with ``incus config set``, an empty
    value unsets a key.
    """
    for about, given in (
        ("config", config),
        *((f"device '{device}'", devices[device]) for device in devices),
    ):
        _require_texts(about, given)
    local = {**instance.config, **config}
    for key in [key for key, value in config.items() if value == ""]:
        del local[key]
    inherited = instance.expanded_devices()
    own = dict(instance.devices)
    for device, keys in devices.items():
        own[device] = {**inherited.get(device, {}), **keys}
        if "type" not in own[device]:
            hint = f"for example: -d {device},type=nic,network=incusbr0"
            raise UsageError(f"device '{device}' has no type, and no profile has it", hint=hint)
    said = ("the name " if name is not None else None, "the type " if type is not None else None)
    return instance.replace(
        name=instance.name if name is None else name,
        type=instance.type if type is None else instance_type(type),
        config=local,
        devices=own,
        notes=tuple(note for note in instance.notes if not any(s and note.startswith(s) for s in said)),
    )


def _require_texts(about: str, given: Mapping[str, str]) -> None:
    for key, value in given.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise UsageError(
                f"{about}: {key!r} is {value!r}, which is not text", hint="the daemons keep text: 'true', '1'"
            )


def instance_type(text: str) -> str:
    types = {"container": CONTAINER, "virtual-machine": VIRTUAL_MACHINE, "vm": VIRTUAL_MACHINE}
    if text not in types:
        raise UsageError(f"unknown instance type '{text}'", hint="one of container, virtual-machine")
    return types[text]


def _named(instance: Instance, source: Source, name: str | None) -> Instance:
    """Name an instance after its file: ``config show`` prints no name."""
    if instance.name or name is not None:
        return instance
    stem = _stem(source.name)
    if stem:
        note = f"the name '{stem}' is that of the file: the description has none (see --name)"
    else:
        note = "the name 'c1' is assumed: the description has none (see --name)"
    instance.name = stem or "c1"
    instance.notes = (*instance.notes, note)
    return instance


def _stem(file: str) -> str:
    """Return a file's name without its ending; empty for standard input."""
    last = file.replace("\\", "/").rpartition("/")[2]
    return "" if last in ("-", "<stdin>") else last.partition(".")[0]


# ---------------------------------------------------------------------------------------------
# Text to values: text, None, lists and mappings, without any other type


class _Wrong(Exception):
    """A value of the wrong kind, at a path."""

    def __init__(self, path: Path, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.message = message
        self.hint = hint


class _Document:
    """A text as values, and for YAML as nodes, which give errors their place."""

    # plain classes here: dataclasses would cost an uncached hook as much as half of Jinja2 does
    __slots__ = ("root", "source", "value")

    def __init__(self, source: Source, value: Any, root: Node | None) -> None:
        self.source = source
        self.value = value
        self.root = root

    @classmethod
    def read(cls, source: Source) -> "_Document":
        if source.text.lstrip("\ufeff \t\r\n")[:1] not in ("[", "{"):
            return cls.of_yaml(source)
        if len(source.text) > LIMITS.bytes:
            raise LimitError(f"{source.name} is larger than {size_text(LIMITS.bytes)}", source.span(0))
        try:
            return cls(source, _json(source.text.lstrip("\ufeff")), None)
        except json.JSONDecodeError as error:
            wrong = InputError(
                f"not JSON: {error.msg.lower()}", source.span(min(error.pos, len(source.text)))
            )
        except RecursionError:
            raise LimitError("nested too deep", source.span(0)) from None
        try:
            return cls.of_yaml(source)  # which may begin with a bracket too
        except YamlError:
            raise wrong from None

    @classmethod
    def of_yaml(cls, source: Source) -> "_Document":
        root = parse(source, "v2", LIMITS)
        return cls(root.source if root else source, None if root is None else _value(root), root)

    @contextmanager
    def places(self) -> Iterator[None]:
        """Turn a ``_Wrong`` into an InputError with its place in the text."""
        try:
            yield
        except _Wrong as wrong:
            where = _written(wrong.path)
            message = f"{where}: {wrong.message}" if where else wrong.message
            raise InputError(message, self.span(wrong.path), wrong.hint) from None

    def span(self, path: Path) -> Span:
        if self.root is None:
            return self.source.span(0)
        node = self.root
        for step in path:
            below = _child(node, step)
            if below is None:
                break
            node = below
        return node.span


def _json(text: str) -> Any:
    value = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    return whole(value) if has_surrogates(text) else value


def has_surrogates(text: str) -> bool:
    """Return whether a JSON text may hold surrogates, which Go reads in another way."""
    return "\\ud" in text or "\\uD" in text


def whole(value: Any) -> Any:
    """Return a decoded JSON value with its surrogates as Go reads them."""
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
            for mapping in value.children if isinstance(value, SequenceNode) else [value]:
                merged = _value(mapping)
                if not isinstance(merged, dict):
                    raise InputError("'<<' needs a mapping or a list of mappings", mapping.span)
                merges.append(merged)
        else:
            found[key.text] = _value(value)
    if not merges:
        return found
    # own keys win, then the first merged mapping; put together once, because there may be many
    together: dict[str, Any] = {}
    for merged in reversed(merges):
        together.update(merged)
    together.update(found)
    return together


def _child(node: Node, step: str | int) -> Node | None:
    if isinstance(node, SequenceNode) and isinstance(step, int):
        return node.children[step]
    if isinstance(node, MappingNode):
        named = [value for key, value in node.pairs() if isinstance(key, Scalar) and key.text == step]
        return named[-1] if named else None
    return None


def _written(path: Path) -> str:
    return ".".join(str(step) for step in path)


# ---------------------------------------------------------------------------------------------
# Values to an instance

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
    """One instance's mapping, its place, and the profiles that are defined beside it."""

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
            raise _Wrong((*self.path, key), f"'{text}' is not a boolean: use true or false")
        return _BOOLEANS[text]

    def instance(self, given: tuple[Profile, ...], expanded: bool | None) -> Instance:
        config = _texts(self.value.get("config"), (*self.path, "config"))
        devices = _devices(self.value.get("devices"), (*self.path, "devices"))
        profiles, notes = self.layers(given, config, devices, expanded)
        if profiles is None:
            config = _texts(self.value.get("expanded_config"), (*self.path, "expanded_config")) or config
            path = (*self.path, "expanded_devices")
            devices = _devices(self.value.get("expanded_devices"), path) or devices
        if self.boolean("privileged"):
            config.setdefault("security.privileged", "true")
        kind, assumed = self.kind(config)
        return Instance(
            name=self.name,
            type=kind,
            architecture=self.text("architecture") or "x86_64",
            ephemeral=self.boolean("ephemeral"),
            config=config,
            devices=devices,
            profiles=profiles or (),
            notes=(*assumed, *notes, *self.unknown()),
            status=self.text("status"),
            recorded=not {"status", "created_at", "last_used_at"}.isdisjoint(self.value),
        )

    def kind(self, config: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
        text = self.text("type")
        if text:
            try:
                return instance_type(text), ()
            except UsageError as error:
                raise _Wrong((*self.path, "type"), error.message, error.hint) from None
        telling = next((key for key in config if _only_on_vms(key)), None)
        if telling:
            return VIRTUAL_MACHINE, (f"the type virtual-machine is concluded from '{telling}' (see --type)",)
        if self.name and "stateful" not in self.value:
            return CONTAINER, ()  # the short form; descriptions that daemons print have "stateful"
        return CONTAINER, ("the type container is assumed: the description has none (see --type)",)

    def layers(
        self,
        given: tuple[Profile, ...],
        config: Mapping[str, str],
        devices: Mapping[str, Any],
        expanded: bool | None,
    ) -> tuple[tuple[Profile, ...] | None, tuple[str, ...]]:
        """Return the profiles below the instance's own keys; None if its expanded keys count instead."""
        listed = self.profiles()
        known = {profile.name: profile for profile in (*self.defined, *given)}
        known.update((profile.name, profile) for profile in listed if profile.config or profile.devices)
        names = [profile.name for profile in listed]
        missing = [name for name in names if name not in known]
        added = [profile for profile in given if profile.name not in names]
        if expanded and given:
            raise UsageError("a profile can't be put below what is already expanded", hint=_LIST_HINT)
        has_expanded = "expanded_config" in self.value or "expanded_devices" in self.value
        if given and missing and has_expanded:
            return self.over_expanded(given)
        if expanded or (not given and missing and (has_expanded or "profiles" not in self.value)):
            return None, ()
        if missing and not given and expanded is None and _looks_expanded(config, devices):
            return None, (
                f"assuming that the profiles {_listed(missing)} are expanded already: every device is there"
                " (see --expanded)",
            )
        if missing:
            raise _Wrong(
                (*self.path, "profiles"),
                f"the contents of {_listed(missing)} were not given",
                f"give them with -p, or use --expanded if `config show --expanded` wrote it; {_LIST_HINT}",
            )
        notes = tuple(
            f"profile '{profile.name}' is applied last: the description does not list it" for profile in added
        )
        return (*(known[name] for name in names), *added), notes if names else ()

    def over_expanded(self, given: tuple[Profile, ...]) -> tuple[tuple[Profile, ...], tuple[str, ...]]:
        """Lay given profiles over the expanded keys, where the contents of other profiles are not known."""
        below = Profile(
            "expanded",
            _texts(self.value.get("expanded_config"), (*self.path, "expanded_config")),
            _devices(self.value.get("expanded_devices"), (*self.path, "expanded_devices")),
        )
        notes = tuple(
            f"profile '{printable(profile.name)}' is laid over the expanded keys: keys that only its old"
            " version has stay, and those of later profiles lose"
            for profile in given
        )
        return (below, *given), notes

    def profiles(self) -> list[Profile]:
        """Return the listed profiles: names in the daemons' forms, whole profiles in the short form."""
        value, path = self.value.get("profiles"), (*self.path, "profiles")
        if value is None:
            return []
        if not isinstance(value, list):
            raise _Wrong(path, f"must be a list of profiles, not {_kind(value)}")
        return [
            _profile(item, (*path, index), "")
            if isinstance(item, dict)
            else Profile(_text(item, (*path, index)))
            for index, item in enumerate(value)
        ]

    def unknown(self) -> tuple[str, ...]:
        notes = []
        for key in self.value:
            if key not in KNOWN_KEYS:
                notes.append(f"unknown key '{key}' is ignored{suggestion(key, _OURS)}")
        return tuple(notes)


def _only_on_vms(key: str) -> bool:
    return key.startswith("volatile.vm.") or key in ("volatile.vsock_id", "security.secureboot")


def _looks_expanded(config: Mapping[str, str], devices: Mapping[str, Mapping[str, str]]) -> bool:
    """Return whether the devices are those of an expanded description.

    Every instance has a root disk, and each network interface leaves volatile keys. If all of these are among
    its own devices, no device comes from a profile. Configuration still may, which is why a note says so.
    """
    root = any(d.get("type") == "disk" and d.get("path") == "/" for d in devices.values())
    interfaces = {match[1] for key in config if (match := re.fullmatch(_VOLATILE_DEVICE, key))}
    return root and interfaces <= devices.keys()


_VOLATILE_DEVICE = r"volatile\.(.+)\.(?:hwaddr|host_name)"


def _picked(value: Any, pick: str) -> _Description:
    found = _descriptions(value)
    if pick:
        matching = [description for description in found if description.name == pick]
        if not matching and len(found) == 1 and not found[0].name:
            return found[0]
    else:
        matching = found
    if len(matching) == 1:
        return matching[0]
    names = _listed([description.name for description in found][:20])
    if not found:
        raise _Wrong((), "the list is empty")
    if not matching:
        raise _Wrong((), f"unknown instance '{pick}'", f"the list has {names}")
    raise _Wrong(
        (), f"the file describes {len(found)} instances", f"append #NAME to the file; it describes {names}"
    )


def _descriptions(value: Any, path: Path = ()) -> list[_Description]:
    if isinstance(value, list):
        return [_description(item, (*path, index)) for index, item in enumerate(value)]
    if isinstance(value, dict) and "metadata" in value and ("status_code" in value or "type" in value):
        return _descriptions(value["metadata"], (*path, "metadata"))  # the API's envelope
    return [_description(value, path)]


def _description(value: Any, path: Path) -> _Description:
    if not isinstance(value, dict):
        raise _Wrong(path, f"an instance must be a mapping, not {_kind(value)}")
    if "backend" in value and "pool" in value and "architecture" not in value:  # index.yaml of a backup
        if not isinstance(value.get("config"), dict):
            raise _Wrong(
                path,
                "this index.yaml is of an old release and does not describe its instance",
                "give the backup itself as SRC, or the backup.yaml in it with -i",
            )
        return _description(value["config"], (*path, "config"))
    for key in ("instance", "container"):  # backup.yaml: LXD 6 and 5.21, Incus and older
        if isinstance(value.get(key), dict):
            beside = value.get("profiles") or []
            if not isinstance(beside, list):
                raise _Wrong((*path, "profiles"), f"must be a list of profiles, not {_kind(beside)}")
            defined = tuple(_profile(item, (*path, "profiles", i), "") for i, item in enumerate(beside))
            return _Description(value[key], (*path, key), defined)
    if "templates" in value or "creation_date" in value:
        raise _Wrong(path, "this is an image's metadata.yaml, not an instance", "it is part of SRC")
    if "used_by" in value and "architecture" not in value:
        raise _Wrong(path, "this is a profile, not an instance", "give it with -p")
    if value and KNOWN_KEYS.isdisjoint(value):
        raise _foreign(value, path)
    return _Description(value, path)


_SHOWN_KEYS = 5
#: keys that reveal another kind of file
_TELLING = {
    "services": "a Compose file", "apiVersion": "a Kubernetes object", "network": "a netplan file",
    "packages": "cloud-init user-data", "users": "cloud-init user-data", "runcmd": "cloud-init user-data",
}  # fmt: skip


def _foreign(value: Mapping[str, Any], path: Path) -> _Wrong:
    """Return the error for another kind of file, which would pass for an instance without configuration."""
    taken = next((f"this looks like {what}: " for key, what in _TELLING.items() if key in value), "")
    shown = [*value][:_SHOWN_KEYS]
    unknown = ", ".join(f"'{key}'" for key in shown)
    more = f" and {len(value) - len(shown)} more" if len(value) > len(shown) else ""
    more += "" if taken else next(filter(None, (suggestion(key, _OURS) for key in shown)), "")
    return _Wrong(
        path,
        f"{taken}it has no key of an instance: {unknown}{more}",
        "give what `incus config show NAME` or `incus list -f json` prints",
    )


def _profile(value: Any, path: Path, name: str) -> Profile:
    if not isinstance(value, dict):
        raise _Wrong(path, f"a profile must be a mapping, not {_kind(value)}")
    if "templates" in value or "creation_date" in value:
        raise _Wrong(path, "this is an image's metadata.yaml, not a profile", "it is part of SRC")
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
        return mapping  # the common case, a shortcut for lists of thousands
    return {key: _text(item, (*path, key)) for key, item in mapping.items()}


def _mapping(value: Any, path: Path, of_what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _Wrong(path, f"must be a mapping {of_what}, not {_kind(value)}")
    return value


def _text(value: Any, path: Path) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    raise _Wrong(path, f"must be text, not {_kind(value)}", "a text of several lines begins with '|'")


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "a list"
    return "a mapping" if isinstance(value, dict) else "nothing" if value is None else "text"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{printable(name)}'" for name in names)
