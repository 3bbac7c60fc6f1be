"""Limits by name, as ``--limit NAME=VALUE`` gives them: one vocabulary for every command and hook.

Lean, and loaded only where somebody asks for another limit than ours.
"""

from .model.errors import UsageError
from .model.source import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .image.limits import Limits as ImageLimits
    from .parsing.yaml_nodes import Limits as YamlLimits
    from .pongo2.state import Limits as RenderLimits
    from .sandbox.child import Bounds

RENDERING, READING, IMAGE, CHILD = "rendering", "reading", "image", "child"

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
    "values": (RENDERING, "values", SIZE, "characters that it builds as values"),
    "calls": (RENDERING, "depth", NUMBER, "macros that call each other"),
    "yaml-depth": (READING, "depth", NUMBER, "levels of metadata.yaml"),
    "yaml-nodes": (READING, "nodes", NUMBER, "its keys, values and lists"),
    "yaml-aliases": (READING, "expanded", NUMBER, "the same, every alias replaced by what it stands for"),
    "metadata": (IMAGE, "metadata_bytes", SIZE, "the size of metadata.yaml; the daemons' own limit is ours"),
    "template": (IMAGE, "template_bytes", SIZE, "the size of a template"),
    "templates": (IMAGE, "templates_bytes", SIZE, "all templates together"),
    "members": (IMAGE, "members", NUMBER, "files of an archive"),
    "names": (IMAGE, "held_bytes", SIZE, "names and attributes of an archive that are held in memory"),
    "header": (IMAGE, "header_bytes", SIZE, "one header of an archive: a long name, attributes"),
    "unpacked": (IMAGE, "unpacked_bytes", SIZE, "what an archive grows to"),
    "ratio": (IMAGE, "ratio", NUMBER, "how often larger than the archive that is, from 256 MiB on"),
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

#: nothing is without a limit, and no number is one that the kernel or Python could not take
LARGEST = 1 << 50


class Given:
    """The limits that somebody named, by what they belong to; all others are as they are."""

    __slots__ = (CHILD, IMAGE, READING, RENDERING)

    def __init__(self) -> None:
        self.rendering: dict[str, int] = {}
        self.reading: dict[str, int] = {}
        self.image: dict[str, int] = {}
        self.child: dict[str, int] = {}

    def for_rendering(self, seconds: "float | None" = None, total: "float | None" = None) -> "RenderLimits":
        """Where nothing else was given, ``seconds`` for a template and ``total`` for all of them."""
        from .pongo2.state import Limits

        limits = Limits(seconds=seconds, total=total)
        for name, value in self.rendering.items():
            setattr(limits, name, value)
        return limits

    def for_reading(self) -> "YamlLimits | None":
        """None where all are as they are."""
        size = self.image.get("metadata_bytes")
        values = self.reading if size is None else {**self.reading, "bytes": size}
        if not values:
            return None
        from .parsing.yaml_nodes import Limits

        return Limits(**values)

    def for_images(self, ours: "ImageLimits | None" = None) -> "ImageLimits":
        from dataclasses import replace

        from .image.limits import DEFAULT

        return replace(ours or DEFAULT, **self.image)

    def for_child(self, wall: float, cpu: int) -> "Bounds":
        from .sandbox.child import Bounds

        return Bounds(cpu, wall, **self.child)


def parse(words: "Iterable[str]", kinds: "tuple[str, ...]" = (RENDERING, READING, IMAGE)) -> Given:
    """``NAME=VALUE`` each; ``kinds`` are those that count where they were given."""
    given = Given()
    for word in words:
        name, equals, value = word.partition("=")
        if name not in NAMES or NAMES[name][0] not in kinds:
            known = ", ".join(name for name, about in NAMES.items() if about[0] in kinds)
            raise UsageError(f"'{printable(name)}' is no limit here", hint=f"there are {known}")
        kind, attribute, unit, _ = NAMES[name]
        if not equals:
            raise UsageError(f"the limit '{name}' needs a value", hint=f"for example {name}={EXAMPLES[unit]}")
        getattr(given, kind)[attribute] = number(name, value, unit)
    return given


def number(name: str, text: str, unit: str) -> int:
    """``5m``, ``3M``, ``16MiB``: a whole number of ``unit``, and no more than can be meant."""
    digits = text.rstrip("bBkKmMgGiIsShH")
    factor = UNITS[unit].get(text[len(digits) :].lower())
    plain = digits.replace("_", "")
    if factor is None or not (plain.isascii() and plain.isdecimal() and len(plain) < 16):
        raise UsageError(
            f"'{printable(text)}' is no value of the limit '{name}'", hint=f"write {EXAMPLES[unit]}"
        )
    value = int(plain) * factor
    if not 0 < value <= LARGEST:
        hint = f"give {LARGEST} at most" if value else f"give more, for example {name}={EXAMPLES[unit]}"
        raise UsageError(f"the limit '{name}' can't be {printable(text)}", hint=hint)
    return value
