"""Explanations of rendered files: for each line, its line in the template and the origins of its values.

The origin of a value is the layer of the configuration that sets it, such as a profile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from time import thread_time
from typing import TYPE_CHECKING, NamedTuple

from ..model.errors import TemplaterError, TemplateSyntaxError
from ..model.instance import EXPANDED_PROFILE, Expanded, Instance, Profile
from ..model.metadata import Metadata, Rule
from ..model.source import Source, Span
from ..pongo2.dialect import DIALECTS
from ..pongo2.render_state import DAEMON_NAMES
from ..pongo2.tracing import recorder as trace
from ..pongo2.tracing.recorder import CONFIG_DEFAULT, FILTER_DEFAULT, Name, normal
from .instance_context import Contexts

# The build of a wheel imports this module without Jinja2, so some imports are in functions.
if TYPE_CHECKING:
    from ..model.entry import TemplateFile
    from ..model.plan import Change, Plan
    from ..model.render_options import RenderOptions
    from ..pongo2.names_read import Read
    from ..pongo2.tracing.instrumented_template import Traced, TracedTemplate

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

#: the maximum number of lines in a file that templater explains
MAX_LINES = 100_000
#: the maximum number of origins in all parts of a file's lines
MAX_ORIGINS = 500_000
#: the kinds of the parts of a line
TEXT, VALUE, NOTHING = trace.TEXT, trace.VALUE, trace.NOTHING


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

    ``given`` is the instance as the user described it. ``made`` also has the daemon's keys. ``options`` and
    ``device_options`` name the keys and devices that the command line sets.
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
        #: for each key, the last profile that sets the key; a dict, because there can be many profiles
        self.holders = {key: profile for profile in made.profiles for key in profile.config}
        #: for each device, the last profile that contains the device
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


def layers_of(
    instance: Instance, plan: Plan, options: Collection[str], device_options: Collection[str]
) -> Layers:
    """Return the layers of configuration from which a plan's instance gets its values.

    ``options`` and ``device_options`` have the names of the keys and devices that the command line sets.
    """
    return Layers(instance, plan.instance, plan.metadata, options=options, device_options=device_options)


# --- lines


class Part(NamedTuple):
    """A part of a rendered line. ``kind`` is "text" (a text of the template), "value" or "nothing".

    * "nothing" stands for a condition or loop that has printed nothing.
    * ``line`` and ``column`` are a position in the template.
    * ``because`` has the origins of the values in the conditions and loops around the part.
    * ``compared`` has the origins of values that the template compares, or changes in an unknown way.
    """

    text: str
    line: int
    column: int
    kind: str
    origins: tuple[Origin, ...]
    because: tuple[Origin, ...]
    compared: tuple[Origin, ...] = ()


class Line(NamedTuple):
    """A line of a rendered file. ``number`` and ``template_line`` count from 1."""

    number: int
    template_line: int
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts)


class Reading(NamedTuple):
    """A name that a template reads, with the template lines that read it, and the origin of its value."""

    origin: Origin
    lines: tuple[int, ...]


class Explainer:
    """A finder that tells where the values in an instance's files come from.

    ``options`` need a clock and a seed, so that a second render gives the same text.
    """

    def __init__(self, templates: Mapping[str, TemplateFile], layers: Layers, options: RenderOptions) -> None:
        self.templates = templates
        self.layers = layers
        self.options = options
        self.contexts = Contexts(layers.made, options.host)
        self.compiled: dict[bytes, TracedTemplate] = {}
        self.sources: dict[str, Source] = {}

    def lines(self, change: Change) -> list[Line] | None:
        """Return the lines of a change's content, or None if they cannot be explained.

        The result is None in these cases:

        * The content or its template is missing.
        * The content has too many lines or origins.
        * The traced render fails, or gives another text.
        """
        file, options = self.templates.get(change.rule.template), self.options
        if change.content is None or file is None or file.data is None:
            return None
        if change.content.count(b"\n") >= MAX_LINES:
            return None
        options.check_time()
        name = change.rule.template
        if name not in self.sources:
            self.sources[name] = file.source(f"templates/{name}")
        source = self.sources[name]
        template = self.compiled.get(file.data)
        if template is None:
            from ..pongo2.parse_with_includes import Compilation
            from ..pongo2.tracing.instrumented_template import TracedTemplate

            template = TracedTemplate(Compilation(source, DIALECTS[options.dialect]))
            self.compiled[file.data] = template
        context = self.contexts.of(change.rule, change.trigger)
        traced = template.render(context, clock=options.clock, seed=options.seed, limits=options.limits)
        if traced is None or traced.text.encode("utf-8", "surrogateescape") != change.content:
            return None
        lines = list(lines_of(traced, source, Origins(self.layers, change.rule)))
        count = sum(len(part.origins) + len(part.because) for line in lines for part in line.parts)
        return None if count > MAX_ORIGINS else lines


def lines_of(traced: Traced, source: Source, origins: Origins) -> Iterator[Line]:
    """Yield the lines of a traced render's text. A piece with line breaks is divided at the line breaks."""
    number, begins = 1, 1  # a line of the output, and the line of the template in which that line begins
    parts: list[Part] = []
    places: dict[int, tuple[int, int]] = {}  # a loop prints the same sites many times
    for piece in traced.pieces:
        offset, is_text = max(piece.site.start, 0), piece.site.kind == TEXT
        kind = VALUE if piece.site.kind == trace.CAPTURED else piece.site.kind
        values = origins.of(piece.reads)
        because = tuple(origin for origin in origins.of(piece.because) if origin.kind != "default")
        compared = origins.of(sorted(traced.compared.intersection((*piece.reads, *piece.because))))
        texts = piece.text.split("\n")
        for index, text in enumerate(texts):
            if index:
                yield Line(number, parts[0].line if parts else begins, tuple(parts))
                number, parts, begins = number + 1, [], source.line_at(offset)
            # An empty value is a part, too, because a name that is not set prints nothing.
            # The line end becomes a separate part if it depends on other values than the rest of the line.
            is_end = index < len(texts) - 1 and (parts[-1][4:6] if parts else ((), ())) != (values, because)
            if text or not (piece.text or is_text) or (is_end and (values or because)):
                if offset not in places:
                    span = source.span(offset, offset)
                    places[offset] = span.line, span.column
                parts.append(Part(text, *places[offset], kind, values, because, compared))
            offset += len(text) + 1 if is_text else 0
    if parts:
        yield Line(number, parts[0].line, tuple(parts))


# --- names


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
    """Return the names that a template reads from its context, or None if they cannot be found.

    For a template with a syntax error, the result is empty.
    """
    from ..pongo2.names_read import reads_of
    from ..pongo2.parse_with_includes import Compilation

    try:
        document = Compilation(source, DIALECTS[dialect]).parsed()
    except TemplateSyntaxError:
        return frozenset()
    except TemplaterError:
        return None
    # If the template sets a name of the daemon, the names cannot be found.
    return frozenset(map(name_of, reads_of(document))) if DAEMON_NAMES.isdisjoint(document.bound) else None


def readings(source: Source, rule: Rule, layers: Layers, dialect: str) -> list[Reading]:
    """Return every name that a template reads from its context, in the order of the first reads.

    For a computed key, return the name of the whole map, such as ``config``. Raises TemplaterError if the
    template is invalid.
    """
    from .unknown_names import parsed_reads

    lines: dict[Name, dict[int, None]] = {}
    for read in parsed_reads(source, dialect):
        lines.setdefault(name_of(read), {})[read.spans[0].line] = None
    return [Reading(layers.origin(name, rule), tuple(found)) for name, found in lines.items()]


def keys_read(sources: Iterable[Source], dialect: str, seconds: float) -> set[str] | None:
    """Return the configuration keys that templates read.

    Return None if a template is invalid or may read every key, or after ``seconds`` of processor time.
    """
    from .unknown_names import parsed_reads

    found: set[str] = set()
    end = thread_time() + seconds
    for source in sources:
        try:
            names = {name_of(read) for read in parsed_reads(source, dialect)}
        except TemplaterError:
            return None
        if ("config",) in names or thread_time() > end:
            return None
        found.update(key for root, *keys in names if root == "config" for key in keys)
        if not names.isdisjoint((("instance",), ("instance", "privileged"))):
            found.add("security.privileged")
    return found
