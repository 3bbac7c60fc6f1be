"""Limits by name, as ``--limit NAME=VALUE`` gives them: one vocabulary for every command and hook.

The lean hook path loads this module only if a hook line has ``--limit``.
"""

from .model.entry import TEMPLATE_BYTES
from .model.errors import UsageError
from .model.source import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .image.limits import Limits as ImageLimits
    from .parsing.yaml_nodes import Limits as YamlLimits
    from .pongo2.state import Limits as RenderLimits
    from .sandbox.child import Bounds

RENDERING, READING, IMAGE, CHILD, COMMAND = "rendering", "reading", "image", "child", "command"

#: how a value is written
SECONDS, NUMBER, SIZE = "seconds", "number", "size"

#: name: what it belongs to, its attribute there, how it is written, and what it bounds
NAMES: "Mapping[str, tuple[str, str, str, str]]" = {
    "time": (
        RENDERING,
        "total",
        SECONDS,
        "all templates of a run together; with a list of instances, of each",
    ),
    "template-time": (RENDERING, "seconds", SECONDS, "one template, by the clock"),
    "steps": (RENDERING, "steps", NUMBER, "pieces of template that loops and macros run"),
    "output": (RENDERING, "output", SIZE, "characters that a template prints"),
    "values": (RENDERING, "values", SIZE, "characters that a template builds as values"),
    "calls": (RENDERING, "depth", NUMBER, "macros that call each other"),
    "template": (RENDERING, "source", SIZE, "the size of a template"),
    "yaml-depth": (READING, "depth", NUMBER, "levels of metadata.yaml"),
    "yaml-nodes": (READING, "nodes", NUMBER, "keys, values and lists of metadata.yaml"),
    "yaml-aliases": (READING, "expanded", NUMBER, "the same with every alias expanded"),
    "metadata": (
        IMAGE,
        "metadata_bytes",
        SIZE,
        "the size of metadata.yaml; the default is the daemons' own limit",
    ),
    "templates": (IMAGE, "templates_bytes", SIZE, "all templates together"),
    "members": (IMAGE, "members", NUMBER, "files of an archive"),
    "names": (IMAGE, "held_bytes", SIZE, "names and attributes of an archive that are held in memory"),
    "header": (IMAGE, "header_bytes", SIZE, "one header of an archive: a long name, attributes"),
    "unpacked": (IMAGE, "unpacked_bytes", SIZE, "the decompressed size of an archive"),
    "ratio": (IMAGE, "ratio", NUMBER, "decompressed size divided by compressed size, from 256 MiB on"),
    "command-time": (COMMAND, "time", SECONDS, "a command that reads an image, by the clock"),
    "command-processor": (COMMAND, "processor", SECONDS, "the same in processor time"),
    "command-memory": (COMMAND, "memory", SIZE, "memory that such a command takes"),
    "memory": (CHILD, "memory", SIZE, "the process in which a hook renders"),
}

UNITS: "Mapping[str, Mapping[str, int]]" = {
    SECONDS: {"": 1, "s": 1, "m": 60, "h": 3600},
    NUMBER: {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3},
    SIZE: {
        "": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20,
        "g": 1 << 30, "gib": 1 << 30,
    },
}  # fmt: skip
EXAMPLES = {SECONDS: "30s, 5m or 1h", NUMBER: "5000, 20k or 3M", SIZE: "4096, 512k, 16MiB or 1GiB"}

#: every limit stays below this: the kernel and Python accept it
LARGEST = 1 << 50


class CommandLimits:
    """Bounds around a whole command: seconds by the clock and of the processor, and bytes of memory."""

    __slots__ = ("memory", "processor", "time")

    def __init__(self) -> None:
        self.time = 30 * 60
        self.processor = 30 * 60
        self.memory = 2 << 30


class Given:
    """The limits that the user named, by what they belong to; the others have their defaults."""

    __slots__ = (CHILD, COMMAND, IMAGE, READING, RENDERING)

    def __init__(self) -> None:
        self.rendering: dict[str, int] = {}
        self.reading: dict[str, int] = {}
        self.image: dict[str, int] = {}
        self.child: dict[str, int] = {}
        self.command: dict[str, int] = {}

    def for_rendering(self, seconds: "float | None" = None, total: "float | None" = None) -> "RenderLimits":
        """Return the limits of rendering; ``seconds`` a template and ``total`` are defaults."""
        from .pongo2.state import Limits

        limits = Limits(seconds=seconds, total=total)
        for name, value in self.rendering.items():
            setattr(limits, name, value)
        return limits

    def for_reading(self) -> "YamlLimits | None":
        """Return the limits of reading metadata.yaml, or None for the defaults."""
        size = self.image.get("metadata_bytes")
        values = self.reading if size is None else {**self.reading, "bytes": size}
        if not values:
            return None
        from .parsing.yaml_nodes import Limits

        return Limits(**values)

    def for_images(self, ours: "ImageLimits | None" = None) -> "ImageLimits":
        from dataclasses import replace

        from .image.limits import DEFAULT

        return replace(ours or DEFAULT, **self.image, template_bytes=self.template)

    @property
    def template(self) -> int:
        """Return the bytes that one template may have, in an image and when it is compiled."""
        return self.rendering.get("source", TEMPLATE_BYTES)

    def for_command(self) -> "CommandLimits":
        limits = CommandLimits()
        for name, value in self.command.items():
            setattr(limits, name, value)
        return limits

    def for_child(self, wall: float, cpu: int) -> "Bounds":
        from .sandbox.child import Bounds

        return Bounds(cpu, wall, **self.child)


def parse(words: "Iterable[str]", kinds: "tuple[str, ...]" = (RENDERING, READING, IMAGE)) -> Given:
    """Parse ``NAME=VALUE`` words; ``kinds`` are the kinds of limits that the command accepts."""
    given = Given()
    for word in words:
        name, equals, value = word.partition("=")
        known = [name for name in NAMES if NAMES[name][0] in kinds or (name == "template" and IMAGE in kinds)]
        if name not in known:
            raise UsageError(f"unknown limit '{printable(name)}'", hint=f"known here: {', '.join(known)}")
        kind, attribute, unit, _ = NAMES[name]
        if not equals:
            raise UsageError(f"the limit '{name}' needs a value", hint=f"for example {name}={EXAMPLES[unit]}")
        getattr(given, kind)[attribute] = number(name, value, unit)
    return given


def number(name: str, text: str, unit: str) -> int:
    """Parse ``5m``, ``3M`` or ``16MiB``, a whole number of ``unit``, up to ``LARGEST``."""
    digits = text.rstrip("bBkKmMgGiIsShH")
    factor = UNITS[unit].get(text[len(digits) :].lower())
    plain = digits.replace("_", "")
    if factor is None or not (plain.isascii() and plain.isdecimal() and len(plain) < 16):
        raise UsageError(
            f"invalid value '{printable(text)}' for the limit '{name}'", hint=f"write {EXAMPLES[unit]}"
        )
    value = int(plain) * factor
    if not 0 < value <= LARGEST:
        hint = f"give {LARGEST} at most" if value else f"give more, for example {name}={EXAMPLES[unit]}"
        raise UsageError(f"the limit '{name}' can't be {printable(text)}", hint=hint)
    return value
