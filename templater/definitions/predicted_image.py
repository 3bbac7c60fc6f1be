"""The prediction of one build: the image that the build makes, without its root filesystem."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..image.limits import DEFAULT, Limits
from ..image.name_checks import bad_template_name
from ..image.open_file import reading
from ..model.architectures import kernel_name
from ..model.entry import TemplateFile
from ..model.errors import InputError, LimitError, TemplaterError, UsageError
from ..model.file_names import METADATA
from ..model.source import Source
from ..model.unprintable_characters import printable
from ..planning.follow_links import clean
from . import build_rendering
from .architecture_map import local_architecture, mapped_architecture, personality
from .choice import MOST_NAMED, Choice
from .definition_yaml import INCUS, LIMITS, LXD, PROGRAMS, Definition, read_definition
from .generators import FileEntry, Results, entries_of, run
from .known_rootfs import KnownRootfs
from .metadata_text import metadata_text
from .text_origins import GeneratedSource, GeneratedTemplate, piece_of

if TYPE_CHECKING:
    from ..model.entry import RootfsView

#: maximum number of entries in ``files``; published definitions have fewer than a hundred
MAX_ENTRIES = 1000
NAME = (
    "{{ image.distribution }}-{{ image.release }}-{{ image.architecture_mapped }}-{{ image.variant }}"
    "-{{ image.serial }}"
)
DESCRIPTION = (
    "{{ image.distribution|capfirst }} {{ image.release }} {{ image.architecture_mapped }}"
    '{% if image.variant != "default" %} ({{ image.variant }}){% endif %} ({{ image.serial }})'
)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class DefinitionImage:
    """The image that a build makes, without a root filesystem. ``notes`` describe the assumptions."""

    complete = True

    def __init__(
        self, definition: Definition, choice: Choice, view: RootfsView | None, limits: Limits
    ) -> None:
        self.name = definition.source.name
        self.limits = limits
        self.definition = definition
        self.choice = choice
        self.results = Results(limits.templates_bytes)
        self.entries: list[FileEntry] = []
        self._rootfs = KnownRootfs(view, assume=choice.rootfs != "none")
        self._now = int(time.time()) if choice.now is None else choice.now
        self._build()

    def __repr__(self) -> str:
        return f"DefinitionImage({self.name!r})"

    def _build(self) -> None:
        definition = self.definition
        if not definition.text("image.distribution").strip():
            raise InputError(
                "image.distribution is missing", definition.span("image.distribution", "image"),
                "every definition needs this field, for example: image: {distribution: debian}",
            )  # fmt: skip
        if len(definition.files) > MAX_ENTRIES:
            raise LimitError(
                f"more than {MAX_ENTRIES} entries in 'files'", definition.span(f"files.{MAX_ENTRIES}")
            )
        image = definition.data["image"]
        self.given = dict(image)
        image.setdefault("architecture", local_architecture())
        image.setdefault("expiry", "30d")
        image.setdefault("serial", time.strftime("%Y%m%d_%H%M", time.gmtime(self._now)))
        image.setdefault("variant", "default")
        image.setdefault("name", NAME)
        image.setdefault("description", DESCRIPTION)
        image["architecture_mapped"] = mapped_architecture(definition, image["architecture"])
        image["architecture_kernel"] = kernel_name(image["architecture"], "incus-7") or ""
        image["architecture_personality"] = personality(image["architecture"])
        definition.data.setdefault("source", {}).setdefault("keyserver", "hkps.pool.sks-keyservers.net")
        definition.data.setdefault("targets", {})["type"] = self.choice.type
        limits = build_rendering.LIMITS.begun()
        data = build_rendering.Data(definition.data)
        self.properties = {
            "architecture": image["architecture_mapped"],
            "description": self._rendered("description", data, limits),
            "name": self._rendered("name", data, limits),
            "os": image["distribution"],
            "release": image.get("release", ""),
            "serial": image["serial"],
            "variant": image["variant"],
        }
        self.entries = entries_of(definition, self.matches)
        for entry in self.entries:
            run(entry, self.results, self._rootfs, data, limits)

    def _rendered(self, name: str, data: build_rendering.Data, limits: Any) -> str:
        definition = self.definition
        node = definition.nodes.get(f"image.{name}")
        text = definition.data["image"][name]
        source = GeneratedSource(self.name, text, (piece_of(0, text, node, definition.span("image")),))
        try:
            return build_rendering.render(source, data, limits)
        except TemplaterError as error:
            error.message = f"image.{name} can't be rendered, so the build fails: {error.message}"
            raise

    def matches(self, filters: Mapping[str, Any]) -> bool:
        """Return whether a build uses an entry with these filters."""
        image = self.definition.data["image"]
        values = {
            "releases": image.get("release", ""),
            "architectures": image["architecture_mapped"],
            "variants": image["variant"],
            "types": self.choice.type,
        }
        return all(not filters.get(name) or value in filters[name] for name, value in values.items())

    def kept_mode(self, path: str) -> int | None:
        """Return the mode that the definition's ``files`` set for a file, or None.

        A daemon that overwrites the file does not change this mode.
        """
        try:
            return self._rootfs.modes.get(clean(path))
        except TemplaterError:  # a path that leaves the root filesystem
            return None

    @property
    def label(self) -> str:
        """A heading for the build: its release, architecture, variant and type."""
        image = self.definition.data["image"]
        parts = (image.get("release", ""), image["architecture_mapped"], image["variant"], self.choice.type)
        return " ".join(printable(part) for part in parts if part)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return notes about the prediction, such as its assumptions.

        If an option can replace an assumption, the note names the option.
        """
        image = self.definition.data["image"]
        assumed = [
            f"image.{n}={printable(image[n])}" for n in ("architecture", "serial") if n not in self.given
        ]
        notes = []
        definition = self.definition
        if definition.family == LXD:
            program, other = PROGRAMS[LXD], PROGRAMS[INCUS]
            notes.append(f"this definition is for {program}: {other} refuses {definition.mark}")
        if assumed:
            notes.append(f"assuming {' and '.join(assumed)} (see -o KEY=VALUE)")
        if not image.get("release") and any(file.get("releases") for file in self.definition.files):
            notes.append(
                "image.release is empty, so no entry with 'releases' matches (see -o image.release=…)"
            )
        if unknown := self.choice.unknown_variant(definition.data, definition.source.text):
            notes.append(unknown)
        if self._rootfs.assumed:
            paths = " and ".join(f"'{printable(path)}'" for path in self._rootfs.assumed)
            exist = "exists" if len(self._rootfs.assumed) == 1 else "exist"
            notes.append(f"assuming that {paths} {exist} in the root filesystem (see --rootfs DIR|none)")
        kept = [
            f"'{printable(path)}' with mode {mode:04o}"
            for path in self.results.rules
            if (mode := self.kept_mode(path)) is not None
        ]
        if kept:
            more = f" and {len(kept) - MOST_NAMED} more" if len(kept) > MOST_NAMED else ""
            notes.append(
                f"some modes are not predicted: the build creates {', '.join(kept[:MOST_NAMED])}{more},"
                " and the daemon keeps the mode of an existing file"
            )
        return (*notes, *self.results.notes)

    @cached_property
    def expires(self) -> int:
        return self._now + expiry_seconds(self.definition.data["image"]["expiry"])

    def read_metadata(self) -> Source:
        image = self.definition.data["image"]
        return metadata_text(
            f"{self.name}/{METADATA}", self.definition, image["architecture"], self._now, self.expires,
            self.properties, self.results.rules, self.limits.metadata_bytes,
        )  # fmt: skip

    def template_names(self) -> list[str]:
        return sorted(self.results.templates)

    def read_templates(self, names: Iterable[str]) -> Mapping[str, TemplateFile]:
        return {name: self._template(name) for name in names}

    def read_to_end(self) -> Mapping[str, TemplateFile]:
        """Return all template files that the build makes."""
        return self.read_templates(self.template_names())

    def _template(self, name: str) -> TemplateFile:
        if name not in self.results.templates:
            return bad_template_name(name) or TemplateFile()
        text, pieces = self.results.templates[name]
        data = text.encode("utf-8", "surrogateescape")
        if len(data) > self.limits.template_bytes:
            most = self.limits.template_bytes
            error = LimitError(f"the template '{printable(name)}' is larger than {most} bytes")
            return TemplateFile(GeneratedTemplate(data, pieces).entry, None, error)
        return GeneratedTemplate(data, pieces)


def expiry_seconds(text: str) -> int:
    """Return the seconds until an image expires.

    As in distrobuilder, `1d12h` gives 12 hours, and an invalid text gives 0.
    """
    return sum(
        int(found[1]) * _UNITS[found[2]] for found in re.finditer(r"(?:([0-9]+)([smhdw]))+", text[:200])
    )


def read_source(path: str) -> Source:
    """Read the text of a definition. Raises InputError for anything but a regular file."""
    with reading(path) as file:
        return Source(str(path), file.read(LIMITS.bytes + 1) or b"")


def open_definition(path: str, choice: Choice, limits: Limits = DEFAULT) -> DefinitionImage:
    """Predict the build of a definition. Raises TemplaterError with a position if the build fails."""
    return build(read_source(path), choice, limits)


def build(source: Source, choice: Choice, limits: Limits = DEFAULT) -> DefinitionImage:
    definition = read_definition(source, choice.parameters)
    if choice.files is not None:
        from ..rootfs.memory_rootfs import MemoryRootfs

        return DefinitionImage(definition, choice, MemoryRootfs(dict(choice.files)), limits)
    if choice.rootfs == "image":
        raise UsageError(
            "a definition contains no root filesystem", hint="give --rootfs DIR or --rootfs none"
        )
    if choice.rootfs in (None, "none"):
        return DefinitionImage(definition, choice, None, limits)
    from ..rootfs.directory_rootfs import DirectoryRootfs

    assert choice.rootfs is not None
    with DirectoryRootfs(choice.rootfs) as view:
        return DefinitionImage(definition, choice, view, limits)
