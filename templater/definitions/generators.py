"""The effects of each generator of ``files`` on metadata.yaml, the templates and the root filesystem."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..model.errors import InputError, LimitError, TemplaterError
from ..model.source import Source, Span
from ..model.unprintable_characters import printable
from ..parsing.yaml_nodes import Node, Scalar
from ..pongo2.syntax.hints import did_you_mean
from . import build_rendering
from .definition_yaml import INCUS, LXD
from .text_origins import GeneratedSource, Piece, piece_of

if TYPE_CHECKING:
    from ..pongo2.render_state import Limits
    from .definition_yaml import Definition
    from .known_rootfs import KnownRootfs

#: the hostname that each program replaces in files of the root filesystem
BUILD_NAMES = {INCUS: "distrobuilder", LXD: "lxd-imagebuilder"}
DEFAULT_WHEN = ("create", "copy")
NAME = "{{ container.name }}"

SEED = "/var/lib/cloud/seed/nocloud-net"
_DATA = """\
{%- if config_get("cloud-init.KIND-data", properties.default) == properties.default -%}
{{ config_get("user.KIND-data", properties.default) }}
{%- else -%}
{{- config_get("cloud-init.KIND-data", properties.default) }}
{%- endif %}
"""
_META_DATA = """\
instance-id: {{ container.name }}
local-hostname: {{ container.name }}
{{ config_get("user.meta-data", "") }}
"""
_NETWORK = (
    """\
{%- if config_get("cloud-init.network-config", "") == "" -%}
{%- if config_get("user.network-config", "") == "" -%}
""",
    """
{%- else -%}
{{- config_get("user.network-config", "") -}}
{%- endif -%}
{%- else -%}
{{- config_get("cloud-init.network-config", "") -}}
{%- endif %}
""",
)
_DEFAULT_NETWORK = """\
version: 1
config:
  - type: physical
    name: {% if instance.type == "virtual-machine" %}enp5s0{% else %}eth0{% endif %}
    subnets:
      - type: dhcp
        control: auto"""
_DEFAULT_DATA = "#cloud-config\n{}"
CLOUD_INIT = ("user-data", "meta-data", "vendor-data", "network-config")


@dataclass(frozen=True)
class FileEntry:
    """One entry of ``files`` that a build uses. ``path``, ``content`` and ``source`` are rendered."""

    number: int
    generator: str
    path: str
    content: str
    name: str
    source: str
    when: tuple[str, ...]
    properties: dict[str, str]
    pongo: bool
    mode: str
    uid: str
    gid: str
    definition: Definition

    def node(self, name: str) -> Node | None:
        return self.definition.nodes.get(f"files.{self.number}.{name}")

    def span(self, *names: str) -> Span:
        """Return the position of the first field of ``names`` in the entry, or else of the entry."""
        first = f"files.{self.number}."
        return self.definition.span(*(first + name for name in names), f"files.{self.number}")

    def error(self, message: str, *names: str, hint: str = "") -> InputError:
        return InputError(f"{message}, so the build fails", self.span(*names), hint)

    def text_of(self, name: str) -> Source:
        """Return a field's unrendered text, with its positions in the definition."""
        node = self.node(name)
        text = node.text if isinstance(node, Scalar) else ""
        return GeneratedSource(
            self.definition.source.name, text, (piece_of(0, text, node, self.span(name, "generator")),)
        )


@dataclass(frozen=True)
class Rule:
    """An entry of ``templates`` in the image's metadata.yaml.

    The build generates this rule from ``entry``, an entry of ``files`` in the definition.
    """

    entry: FileEntry
    template: str
    when: tuple[str, ...]
    properties: dict[str, str]


@dataclass
class Results:
    """The results of a build.

    * ``rules`` maps each path to its rule.
    * ``made`` also has the rules that a later entry of ``files`` has replaced.
    * ``templates`` has the content of each template file, with the origins of its parts.
    * ``most`` limits the total number of characters of templates and fields.
    """

    most: int
    rules: dict[str, Rule] = field(default_factory=dict)
    made: list[Rule] = field(default_factory=list)
    templates: dict[str, tuple[str, tuple[Piece, ...]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    #: the number of characters of all templates and fields
    size: int = 0

    def count(self, *texts: str) -> None:
        """Add the length of texts to the total. Raises LimitError if all texts together are too long."""
        self.size += sum(map(len, texts))
        if self.size > self.most:
            raise LimitError(f"the entries of 'files' have more than {self.most} characters in total")

    def add(
        self,
        entry: FileEntry,
        template: str,
        parts: tuple[tuple[str, Node | None], ...],
        properties: dict[str, str] | None = None,
        when: tuple[str, ...] | None = None,
    ) -> None:
        """Add a rule and its template file.

        Each of ``parts`` is a pair of a text and its node in the definition. The node is None for a text that
        the generator supplies.
        """
        text, pieces = "", [Piece(0, sum(len(part) for part, _ in parts), entry.span("generator"))]
        for part, node in parts:
            if node is not None:
                pieces.append(piece_of(len(text), part, node, entry.span("generator")))
            text += part
        self.count(text)
        self.templates[template] = text, tuple(pieces)
        chosen = when or entry.when or DEFAULT_WHEN
        rule = Rule(entry, template, chosen, entry.properties if properties is None else properties)
        self.rules[entry.path] = rule
        self.made.append(rule)


def entries_of(definition: Definition, chosen: Callable[[dict[str, Any]], bool]) -> list[FileEntry]:
    """Return the entries of ``files`` that ``chosen`` selects, before a rendering of their fields."""
    return [
        FileEntry(
            number,
            file["generator"].strip(),
            file.get("path", ""),
            file.get("content", ""),
            file.get("name", ""),
            file.get("source", ""),
            tuple(file.get("template", {}).get("when", ())),
            file.get("template", {}).get("properties", {}),
            file.get("pongo", False),
            file.get("mode", ""),
            file.get("uid", ""),
            file.get("gid", ""),
            definition,
        )
        for number, file in enumerate(definition.files)
        if chosen(file)
    ]


def run(
    entry: FileEntry, results: Results, rootfs: KnownRootfs, data: build_rendering.Data, limits: Limits
) -> None:
    """Predict the effects of one entry of ``files``, and add them to ``results``.

    Raises TemplaterError with a position if the build fails.
    """
    if entry.pongo:
        entry = rendered(entry, results, data, limits)
    try:
        results.count(entry.path, entry.content, entry.source)
        if entry.generator == "template":
            _template(entry, results, limits)
        elif entry.generator in _RUN:
            _RUN[entry.generator](entry, results, rootfs)
    except TemplaterError as error:
        raise (
            error if error.span is not None else error.replace(span=entry.span("path", "generator"))
        ) from None


def rendered(entry: FileEntry, results: Results, data: build_rendering.Data, limits: Limits) -> FileEntry:
    """Return an entry of ``files`` with rendered fields.

    If a field can't be rendered, keep the field's text, and add a note to ``results``.
    """
    texts: dict[str, Any] = {}
    for name in ("content", "path", "source"):
        if getattr(entry, name):
            try:
                texts[name] = build_rendering.render(entry.text_of(name), data, limits)
            except TemplaterError as error:
                if error.kind == "limit":
                    raise
                results.notes.append(
                    f"{error}: the build only warns, and uses the {name} without rendering it"
                )
    return replace(entry, **texts)


def _with_newline(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"


def _template(entry: FileEntry, results: Results, limits: Limits) -> None:
    file = f"{entry.name}.tpl"
    if "/" in entry.name:
        raise entry.error(
            f"the template name '{printable(entry.name)}' contains a '/'", "name",
            hint="give a name without a '/': it becomes the name of a file in the image's templates folder",
        )  # fmt: skip
    if "\0" in file or len(file.encode("utf-8", "surrogateescape")) > 255:
        raise entry.error(f"the template name '{printable(entry.name[:40])}' is not a file name", "name")
    content = _with_newline(entry.content)
    if entry.pongo:
        definition = entry.definition
        family = definition.family or INCUS
        target = definition.data.get("targets", {}).get(family, {})
        source = entry.text_of("content")
        source.text = _with_newline(source.text)
        try:
            content = build_rendering.render_again(content, source, target, family, limits)
        except TemplaterError as error:
            if error.kind == "limit":
                raise
            place = error.span or entry.span("content", "generator")
            raise InputError(
                f"the content can't be rendered: {error.message}, so the build fails", place,
                "without 'pongo: true', the build copies the content unchanged into the template",
            ) from None  # fmt: skip
    results.add(entry, file, ((content, entry.node("content")),))


def _hostname(entry: FileEntry, results: Results, rootfs: KnownRootfs) -> None:
    if rootfs.exists(entry.path):
        results.add(entry, "hostname.tpl", ((f"{NAME}\n", None),))


def _hosts(entry: FileEntry, results: Results, rootfs: KnownRootfs) -> None:
    if not rootfs.exists(entry.path):
        return
    content = rootfs.read(entry.path).replace(BUILD_NAMES[entry.definition.family or INCUS], NAME)
    if NAME not in content:
        content = f"127.0.1.1\t{NAME}\n{content}"
    results.add(entry, "hosts.tpl", ((content, None),))


def _cloud_init(entry: FileEntry, results: Results, rootfs: KnownRootfs) -> None:
    name = entry.name
    if name not in CLOUD_INIT:
        hint = did_you_mean(name, list(CLOUD_INIT)) or f"known names: {', '.join(CLOUD_INIT)}"
        raise entry.error(f"unknown cloud-init file '{printable(name)}'", "name", "generator", hint=hint)
    properties = {"default": _DEFAULT_DATA} if name in ("user-data", "vendor-data") else {}
    parts: tuple[tuple[str, Node | None], ...] = ((_META_DATA, None),)
    if name == "network-config":
        before, after = _NETWORK
        default = entry.content or _DEFAULT_NETWORK
        parts = (before, None), (default, entry.node("content") if entry.content else None), (after, None)
    else:
        if name != "meta-data":
            parts = ((_DATA.replace("KIND", name.removesuffix("-data")), None),)
        if entry.content:
            properties["default"] = entry.content
    path = entry.path or f"{SEED}/{name}"
    results.add(
        replace(entry, path=path),
        f"cloud-init-{name}.tpl",
        parts,
        entry.properties or properties,
        DEFAULT_WHEN,
    )


def _dump(entry: FileEntry, results: Results, rootfs: KnownRootfs) -> None:
    _check_attributes(entry)
    rootfs.write(entry.path, _with_newline(entry.content), entry.mode)


def _copy(entry: FileEntry, results: Results, rootfs: KnownRootfs) -> None:
    _check_attributes(entry)
    path = entry.path or entry.source
    if path.endswith("/"):
        path += entry.source.rpartition("/")[2]
    rootfs.write(path, None, entry.mode)


def _remove(entry: FileEntry, results: Results, rootfs: KnownRootfs) -> None:
    rootfs.remove(entry.path)


def _fstab(entry: FileEntry, results: Results, rootfs: KnownRootfs) -> None:
    family = entry.definition.family or INCUS
    target = entry.definition.data.get("targets", {}).get(family, {}).get("vm", {})
    kind = target.get("filesystem", "ext4")
    options = "defaults,subvol=@" if kind == "btrfs" else "defaults"
    lines = f"LABEL=rootfs  /         {kind}  {options}  0 0\nLABEL=UEFI    /boot/efi vfat  defaults  0 0\n"
    rootfs.write("/etc/fstab", lines)


def _agent(entry: FileEntry, results: Results, rootfs: KnownRootfs) -> None:
    if rootfs.view is not None and not rootfs.exists("/sbin/init"):
        raise entry.error("the agent needs '/sbin/init', which the root filesystem lacks", "generator")


_RUN: dict[str, Callable[[FileEntry, Results, KnownRootfs], None]] = {
    "hostname": _hostname,
    "hosts": _hosts,
    "cloud-init": _cloud_init,
    "dump": _dump,
    "copy": _copy,
    "remove": _remove,
    "fstab": _fstab,
    "incus-agent": _agent,
    "lxd-agent": _agent,
}


def _check_attributes(entry: FileEntry) -> None:
    """Raise InputError if the mode, gid or uid makes the generator ``dump`` or ``copy`` fail."""
    # The build checks the mode first, then the gid, then the uid.
    if entry.mode and not re.fullmatch("[0-7]+", entry.mode):
        raise entry.error(f"the mode '{printable(entry.mode)}' is not an octal number", "mode")
    for name, value in (("gid", entry.gid), ("uid", entry.uid)):
        if value and not re.fullmatch(r"[+-]?[0-9]+", value):
            raise entry.error(
                f"the {name} '{printable(value)}' is not a number", name,
                hint="give a number: the documentation allows a name, but the build does not look up names",
            )  # fmt: skip
