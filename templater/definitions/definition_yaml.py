"""A strict reader of definitions. Scalars keep their text: ``release: 22.10`` is the text ``22.10``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from ..model.errors import InputError, UsageError
from ..model.source import Source, Span
from ..model.unprintable_characters import printable
from ..parsing.combined_error import raise_all
from ..parsing.go_scalars import is_merge, is_null, resolved
from ..parsing.yaml_nodes import Limits, Mapping, Node, Scalar, Sequence, merged_nodes, parse
from ..pongo2.syntax.hints import did_you_mean

TEXT: Final = "text"
BOOLEAN: Final = "true or false"
NUMBER: Final = "a number"
TEXTS: Final = "a list of texts"
#: `container` or `vm`, and a list that can contain both
TYPE: Final = "a type"
TYPES: Final = "a list of types"
MAP: Final = "a mapping of texts"

INCUS: Final = "incus"
LXD: Final = "lxd"
#: the program that builds the definitions of a family
PROGRAMS: Final = {INCUS: "distrobuilder", LXD: "lxd-imagebuilder"}

_FILTER: Final = {"releases": TEXTS, "architectures": TEXTS, "variants": TEXTS, "types": TYPES}
_COMMAND: Final = {"cmd": TEXT, "flags": TEXTS}

#: A dict stands for a struct, and a list with one dict stands for a list of structs.
FIELDS: Final[dict[str, Any]] = {
    "image": dict.fromkeys(
        (
            "description", "distribution", "release", "architecture", "expiry", "variant", "name", "serial",
            "architecture_mapped", "architecture_kernel", "architecture_personality",
        ),
        TEXT,
    ),
    "source": {
        **dict.fromkeys(("downloader", "url", "keyserver", "variant", "suite", "same_as"), TEXT),
        "keys": TEXTS, "skip_verification": BOOLEAN, "components": TEXTS,
    },
    "targets": {
        "lxc": {
            "create_message": TEXT,
            "config": [{**_FILTER, "type": TEXT, "before": NUMBER, "after": NUMBER, "content": TEXT}],
        },
        "incus": {"vm": {"size": NUMBER, "filesystem": TEXT}},
        "lxd": {"vm": {"size": TEXT, "filesystem": TEXT}},
        "type": TYPE,
    },
    "files": [
        {
            **_FILTER,
            **dict.fromkeys(
                ("generator", "path", "content", "name", "mode", "gid", "uid", "source"), TEXT
            ),
            "template": {"properties": MAP, "when": TEXTS}, "templated": BOOLEAN, "pongo": BOOLEAN,
        }
    ],
    "packages": {
        "manager": TEXT, "update": BOOLEAN, "cleanup": BOOLEAN,
        "custom_manager": {
            **dict.fromkeys(("clean", "install", "remove", "refresh", "update"), _COMMAND), "flags": TEXTS,
        },
        "sets": [{**_FILTER, "packages": TEXTS, "action": TEXT, "early": BOOLEAN, "flags": TEXTS}],
        "repositories": [{**_FILTER, **dict.fromkeys(("name", "url", "type", "key"), TEXT)}],
    },
    "actions": [{**_FILTER, "trigger": TEXT, "action": TEXT, "pongo": BOOLEAN}],
    "mappings": {"architectures": MAP, "architecture_map": TEXT},
    "environment": {"clear_defaults": BOOLEAN, "variables": [{**_FILTER, "key": TEXT, "value": TEXT}]},
    "simplestream": {
        "distro_name": TEXT, "release_aliases": MAP, "requirements": [{**_FILTER, "requirements": MAP}],
    },
}  # fmt: skip

#: the fields that only distrobuilder (INCUS) or only lxd-imagebuilder (LXD) knows
FAMILY_OF: Final = {"targets.incus": INCUS, "targets.lxd": LXD, "simplestream": LXD}

GENERATORS: Final = (
    "dump", "copy", "template", "hostname", "hosts", "remove", "cloud-init", "incus-agent", "lxd-agent",
    "fstab",
)  # fmt: skip
#: the generators that only distrobuilder (INCUS) or only lxd-imagebuilder (LXD) knows
AGENTS: Final = {"incus-agent": INCUS, "lxd-agent": LXD}
DOWNLOADERS: Final = (
    "almalinux-http", "alpaquita-http", "alpinelinux-http", "alt-http", "apertis-http", "archlinux-http",
    "busybox", "centos-http", "debootstrap", "docker-http", "fedora-http", "funtoo-http", "gentoo-http",
    "nixos-http", "openeuler-http", "opensuse-http", "openwrt-http", "oraclelinux-http", "plamolinux-http",
    "rockylinux-http", "rootfs-http", "rpmbootstrap", "sabayon-http", "slackware-http",
    "springdalelinux-http", "ubuntu-http", "voidlinux-http", "vyos-http",
)  # fmt: skip
#: the downloader that only distrobuilder knows
_ALPAQUITA: Final = "alpaquita-http"
MANAGERS: Final = (
    "anise", "apk", "apt", "dnf", "egoportage", "equo", "opkg", "pacman", "portage", "slackpkg", "xbps",
    "yum", "zypper",
)  # fmt: skip
TRIGGERS: Final = ("post-files", "post-packages", "post-unpack", "post-update")
PACKAGE_ACTIONS: Final = ("install", "remove")
#: the commands that a custom package manager must have
COMMANDS: Final = ("clean", "install", "remove", "refresh", "update")
#: parameters can't set fields inside this field
_CUSTOM: Final = "packages.custom_manager"

LIMITS = Limits()
#: maximum digits of a number in a parameter: Go's numbers have 64 bits
_DIGITS = 20
_EMPTY: dict[str, Any] = {TEXT: "", BOOLEAN: False, NUMBER: 0}


@dataclass
class Definition:
    """A definition. ``data`` has the values of its fields, without missing and empty fields.

    ``nodes`` and ``keys`` map a dotted path, such as ``files.0.content``, to the YAML node of the field's
    value or key. A field that a parameter sets is not in ``nodes``.
    """

    source: Source
    data: dict[str, Any] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Node] = field(default_factory=dict)
    #: "incus" or "lxd", or "" if both programs accept the definition
    family: str = ""
    mark: str = ""

    @property
    def program(self) -> str:
        """Return the name of the program that builds an image from this definition."""
        return PROGRAMS[self.family or INCUS]

    @property
    def files(self) -> list[dict[str, Any]]:
        files: list[dict[str, Any]] = self.data.get("files", [])
        return files

    def text(self, path: str) -> str:
        """Return the text of a field by its dotted path, or "" if the field is missing."""
        value: Any = self.data
        for name in path.split("."):
            value = value.get(name, {})
        return value or ""

    def span(self, *paths: str) -> Span:
        """Return the position of the first of ``paths`` that the file contains.

        By default, return the beginning of the file.
        """
        node = next((self.nodes[path] for path in paths if path in self.nodes), None)
        return self.source.span(0) if node is None else node.span


def read_definition(source: Source, parameters: tuple[str, ...] = ()) -> Definition:
    """Read a definition, and set the fields of ``parameters`` (``image.release=noble``).

    Raises InputError with the position of a mistake, and UsageError for an invalid parameter.
    """
    root = parse(source, "v2", LIMITS)
    definition = Definition(source if root is None else root.source)
    reader = _Reader(definition)
    if root is not None and not is_null(root, "v2"):
        definition.data = reader.struct(root, FIELDS, "", "the definition")
    raise_all(reader.errors)
    for parameter in parameters:
        set_parameter(definition, parameter)
    _check_packages(definition)
    _check_family(definition)
    return definition


class _Reader:
    """A class that reads one definition file. As in yaml.v2, reading continues after a problem."""

    def __init__(self, definition: Definition) -> None:
        self.nodes, self.keys = definition.nodes, definition.keys
        self.errors: list[InputError] = []

    def value(self, node: Node, kind: Any, path: str) -> Any:
        self.nodes[path] = node
        if is_null(node, "v2"):
            return None
        if isinstance(kind, dict):
            return self.struct(node, kind, path, f"'{path}'")
        if isinstance(kind, list):
            items = self.items(node, path)
            return [self.value(item, kind[0], f"{path}.{n}") or {} for n, item in enumerate(items)]
        if kind in (TEXTS, TYPES):
            texts = [self.scalar(item, TEXT, f"{path}.{n}") for n, item in enumerate(self.items(node, path))]
            if kind == TYPES:
                for number, text in enumerate(texts):
                    self.check_type(text, self.nodes[f"{path}.{number}"])
            return texts
        if kind == TYPE:
            text = self.scalar(node, TEXT, path)
            self.check_type(text, node)
            return text
        if kind == MAP:
            return self.map(node, path)
        return self.scalar(node, kind, path)

    def struct(self, node: Node, fields: dict[str, Any], path: str, what: str) -> dict[str, Any]:
        if not isinstance(node, Mapping):
            self.problem(f"{what} must be a mapping, not a {node.kind}", node.span, self.not_one(node, path))
            return {}
        values = {}
        for key, value in self.pairs(node):
            name = key.text if isinstance(key, Scalar) else ""
            if name not in fields:
                self.problem(
                    f"unknown key '{printable(name)}' in {what}", key.span, self.unknown(name, fields, path)
                )
                continue
            inner = f"{path}.{name}".removeprefix(".")
            self.keys[inner] = key
            found = self.value(value, fields[name], inner)
            if found or name in values:
                values[name] = found
        return {name: value for name, value in values.items() if value}

    def map(self, node: Node, path: str) -> dict[str, str]:
        if not isinstance(node, Mapping):
            self.problem(f"'{path}' must be a mapping, not a {node.kind}", node.span)
            return {}
        values = {}
        for key, value in self.pairs(node):
            name = self.scalar(key, TEXT, path)
            self.nodes[f"{path}.{name}"] = value
            values[name] = self.scalar(value, TEXT, f"{path}.{name}")
        return values

    def items(self, node: Node, path: str) -> list[Node]:
        if isinstance(node, Sequence):
            return node.children
        hint = f"write the value as [{node.text}]" if isinstance(node, Scalar) else ""
        self.problem(f"'{path}' must be a list, not a {node.kind}", node.span, printable(hint))
        return []

    def scalar(self, node: Node, kind: str, path: str) -> Any:
        self.nodes.setdefault(path, node)
        if not isinstance(node, Scalar):
            self.problem(f"'{path}' must be {kind}, not a {node.kind}", node.span)
            return _EMPTY[kind]
        if is_null(node, "v2"):
            return _EMPTY[kind]
        if kind == TEXT:
            return node.text
        value = resolved(node.text, node.tag, "v2") if node.plain or node.tag else node.text
        if kind == BOOLEAN and isinstance(value, bool):
            return value
        if kind == NUMBER and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        self.problem(f"'{path}' must be {kind}, not '{printable(node.text)}'", node.span)
        return _EMPTY[kind]

    def check_type(self, text: str, node: Node) -> None:
        if text not in ("container", "vm"):
            self.problem(f"invalid filter type '{printable(text)}'", node.span, "write container, vm or both")

    def pairs(self, node: Mapping, merged: bool = False) -> Iterator[tuple[Node, Node]]:
        """Yield the keys and values of a mapping and of its merged mappings.

        Record a problem for each duplicate key.
        """
        first: dict[str, Node] = {}
        for key, value in node.pairs():
            if is_merge(key):
                for mapping in merged_nodes(key, value):
                    if isinstance(mapping, Mapping):
                        yield from self.pairs(mapping, True)
                    else:
                        self.problem("'<<' needs a mapping or a list of mappings", mapping.span)
                continue
            name = key.text if isinstance(key, Scalar) else ""
            if name in first and not merged:
                self.problem(f"duplicate key '{printable(name)}', first in line {first[name].line}", key.span)
            first.setdefault(name, key)
            yield key, value

    def unknown(self, name: str, fields: dict[str, Any], path: str) -> str:
        if name == "create_only" and path.startswith("files"):
            return "a definition can't set create_only, because a build sets it to false in each rule"
        if not path and name in ("architecture", "creation_date", "expiry_date", "properties", "templates"):
            return "this looks like the metadata.yaml of an image: give the image's directory as SRC"
        if not path and name in ("config", "devices", "profiles", "expanded_config"):
            return "this looks like an instance description: give an image as SRC, and this file with -i"
        if path == "image" and name == "properties":
            return "a build sets the properties of the image from other keys of the definition"
        return did_you_mean(name, sorted(fields)) or f"known keys: {', '.join(fields)}"

    def not_one(self, node: Node, path: str) -> str:
        return "" if path else "a definition is a YAML mapping with the keys image, source and files"

    def problem(self, message: str, span: Span, hint: str = "") -> None:
        self.errors.append(InputError(message, span, hint))


def set_parameter(definition: Definition, parameter: str) -> None:
    """Set one field of a definition. ``parameter`` is a text such as ``image.release=noble``.

    Raises UsageError for an invalid parameter.
    """
    path, equals, value = parameter.partition("=")
    shown = printable(parameter)
    if not equals or "=" in value or not path:
        raise UsageError(
            f"-o '{shown}' is not KEY=VALUE with exactly one '='", hint="for example: -o image.release=noble"
        )
    kind: Any = FIELDS
    place: Any = definition.data
    *parents, last = path.split(".")
    for number, name in enumerate(parents):
        if isinstance(kind, list):
            if not (name.isdecimal() and len(name) < _DIGITS and int(name) < len(place)):
                raise UsageError(f"-o '{shown}': the list has no entry {printable(name)}")
            kind, place = kind[0], place[int(name)]
            continue
        kind = kind.get(name) if isinstance(kind, dict) else None
        empty: Any = [] if isinstance(kind, list) else {}
        place = place.setdefault(name, empty) if isinstance(place, dict) else None
        if not isinstance(kind, dict | list) or place is None:
            raise unknown_parameter(shown, ".".join(parents[: number + 1]))
    kind = kind.get(last) if isinstance(kind, dict) else None
    if kind not in (TEXT, BOOLEAN, NUMBER) or path.startswith(_CUSTOM):
        raise unknown_parameter(shown, path)
    if kind == TEXT:
        place[last] = value
    elif kind == NUMBER:
        if not value.isdecimal() or len(value) >= _DIGITS:
            raise UsageError(f"-o '{shown}': '{printable(value)}' is not a number")
        place[last] = int(value)
    elif value in ("1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"):
        place[last] = value[0] in "1tT"
    else:
        raise UsageError(f"-o '{shown}': write true or false")
    definition.nodes.pop(path, None)


def unknown_parameter(shown: str, path: str) -> UsageError:
    known = [f"image.{name}" for name in FIELDS["image"]] + ["source.variant", "source.suite", "source.url"]
    hint = did_you_mean(path, known) or f"for example: {', '.join(known[:8])}"
    return UsageError(f"-o '{shown}' names no field that can be set", hint=printable(hint))


def _check_packages(definition: Definition) -> None:
    """Raise InputError for an invalid package manager, package set or action."""
    # distrobuilder and lxd-imagebuilder also refuse a definition without a package manager. templater accepts
    # it, because templates do not depend on the package manager.
    packages = definition.data.get("packages", {})
    custom = definition.nodes.get(_CUSTOM)
    if manager := packages.get("manager"):
        _check_name(definition, "packages.manager", "package manager", manager.strip(), MANAGERS)
    if custom is not None and not is_null(custom, "v2"):
        if manager:
            raise InputError("the definition has two package managers", custom.span, f"remove '{_CUSTOM}'")
        for name in COMMANDS:
            if not packages.get("custom_manager", {}).get(name, {}).get("cmd"):
                raise InputError(
                    f"the custom package manager has no command '{name}'",
                    definition.span(f"{_CUSTOM}.{name}.cmd", f"{_CUSTOM}.{name}", _CUSTOM),
                    f"add, for example: {name}: {{cmd: 'true'}}",
                )
    for number, each in enumerate(packages.get("sets", ())):
        path = f"packages.sets.{number}.action"
        _check_name(definition, path, "action", each.get("action", ""), PACKAGE_ACTIONS)
    for number, each in enumerate(definition.data.get("actions", ())):
        _check_name(definition, f"actions.{number}.trigger", "trigger", each.get("trigger", ""), TRIGGERS)


def _check_name(definition: Definition, path: str, what: str, name: str, known: tuple[str, ...]) -> None:
    """Raise InputError if ``name``, the value of the field ``path``, is not in ``known``."""
    if name not in known:
        raise InputError(
            f"unknown {what} '{printable(name)}'" if name else f"the entry has no {what}",
            definition.span(path, path.rpartition(".")[0]),
            did_you_mean(name, list(known)) or f"known {what}s: {', '.join(known)}",
        )


def _check_family(definition: Definition) -> None:
    """Record whether only distrobuilder or only lxd-imagebuilder accepts the definition.

    Raises InputError if neither program accepts the definition.
    """
    first: tuple[str, str, Span] | None = None
    marks = [(path, family) for path, family in FAMILY_OF.items() if path in definition.nodes]
    found = [(f"'{path}'", family, definition.keys[path].span) for path, family in marks]
    path = "source.downloader"
    if downloader := definition.text(path).strip():  # missing in definitions that only describe templates
        _check_name(definition, path, "downloader", downloader, DOWNLOADERS)
        if downloader == _ALPAQUITA:
            found.append((f"the downloader '{downloader}'", INCUS, definition.span(path)))
    for number, file in enumerate(definition.files):
        name, path = file.get("generator", "").strip(), f"files.{number}.generator"
        _check_name(definition, path, "generator", name, GENERATORS)
        if name in AGENTS:
            found.append((f"the generator '{name}'", AGENTS[name], definition.span(path)))
    for what, family, span in sorted(found, key=lambda each: each[2].start):
        if first is None:
            first = what, family, span
        elif family != first[1]:
            raise InputError(
                f"only {PROGRAMS[family]} accepts {what}, and only {PROGRAMS[first[1]]} accepts {first[0]}",
                span,
                f"remove {what} or {first[0]}: neither program builds a definition that contains both",
                (f"{first[2].place}: {first[0]}",),
            )
    if first:
        definition.mark, definition.family, _ = first
