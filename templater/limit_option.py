"""Named limits for the option ``--limit NAME=VALUE`` of every command and hook.

The fast path of hooks imports this module only if a hook line contains ``--limit``.
"""

from .model.entry import TEMPLATE_BYTES
from .model.errors import UsageError
from .model.unprintable_characters import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .image.limits import Limits as ImageLimits
    from .parsing.yaml_nodes import Limits as YamlLimits
    from .pongo2.render_state import Limits as RenderLimits
    from .sandbox.child import Bounds

RENDERING, READING, IMAGE, CHILD, COMMAND = "rendering", "reading", "image", "child", "command"

#: the syntaxes for the value of a limit
SECONDS, NUMBER, SIZE = "seconds", "number", "size"

#: for each name of a limit: its kind, its attribute, the syntax of its value, and a description
NAMES: "Mapping[str, tuple[str, str, str, str]]" = {
    "time": (
        RENDERING,
        "total",
        SECONDS,
        "processor time for all templates of a run; in a list of instances, each instance gets this time",
    ),
    "template-time": (RENDERING, "seconds", SECONDS, "processor time for one template"),
    "steps": (RENDERING, "steps", NUMBER, "template nodes that loops and macros execute"),
    "output": (RENDERING, "output", SIZE, "characters in the output of a template"),
    "values": (RENDERING, "values", SIZE, "characters in the values that a template computes"),
    "calls": (RENDERING, "depth", NUMBER, "nested macro calls"),
    "template": (RENDERING, "source", SIZE, "size of a template"),
    "yaml-depth": (READING, "depth", NUMBER, "nesting depth of metadata.yaml"),
    "yaml-nodes": (READING, "nodes", NUMBER, "keys, values and lists in metadata.yaml"),
    "yaml-aliases": (
        READING,
        "expanded",
        NUMBER,
        "keys, values and lists in metadata.yaml with every alias expanded;"
        " every 16 characters of an aliased text count as one more value",
    ),
    "yaml-pairs": (
        READING,
        "compared",
        NUMBER,
        "pairs of keys that Incus 7 compares in the mappings of metadata.yaml;"
        " a pair of equal keys counts as 500 or more",
    ),
    "metadata": (
        IMAGE,
        "metadata_bytes",
        SIZE,
        "size of metadata.yaml; the default is the daemons' limit",
    ),
    "templates": (IMAGE, "templates_bytes", SIZE, "total size of all templates"),
    "members": (IMAGE, "members", NUMBER, "members of an archive"),
    "names": (
        IMAGE,
        "held_bytes",
        SIZE,
        "memory for the names and attributes of an archive or a directory;"
        " also the total size of an archive's extended (pax) headers",
    ),
    "header": (
        IMAGE,
        "header_bytes",
        SIZE,
        "size of one archive header, including long names and attributes",
    ),
    "unpacked": (IMAGE, "unpacked_bytes", SIZE, "decompressed size of an archive"),
    "ratio": (
        IMAGE,
        "ratio",
        NUMBER,
        "decompressed size divided by compressed size; checked only above 256 MiB of decompressed data",
    ),
    "command-time": (COMMAND, "time", SECONDS, "time for a command that reads an image"),
    "command-processor": (
        COMMAND,
        "processor",
        SECONDS,
        "processor time for a command that reads an image;"
        " for each MiB that the command reads, the default grows by one second,"
        " or by ten seconds if the command packs the image",
    ),
    "command-memory": (COMMAND, "memory", SIZE, "memory for a command that reads an image"),
    "memory": (CHILD, "memory", SIZE, "memory for the process in which a hook renders"),
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

#: the largest value of a limit that the kernel and Python accept
LARGEST = 1 << 50


#: default limits for reading an image: seconds of processor time, and bytes of memory
IMAGE_SECONDS = 9
IMAGE_MEMORY = 416 << 20
#: default limit on the processor time for reading a daemon's instances, in seconds. After this time, the
#: threads have two more seconds to end.
DAEMON_SECONDS = 7

#: default limit in seconds for packing and downloading images
_DAY = 24 * 60 * 60
#: default limits for packing an image: seconds of processor time for each MiB of the image, bytes of memory,
#: and further bytes of memory for each processor. xz needs up to four seconds for each MiB.
PACKING_SECONDS = 10
_PACKING_MEMORY, _PACKING_MEMORY_EACH = 2 << 30, 256 << 20


class CommandLimits:
    """Limits of a whole command: wall-clock seconds, processor seconds and bytes of memory.

    * ``images``: the number of images that the command reads, or None if unknown
    * ``grows``: whether each MiB of the image files adds one second of processor time
    """

    __slots__ = ("grows", "memory", "processor", "time")

    def __init__(self, images: "int | None" = 1) -> None:
        self.time = 30 * 60
        self.processor = self.time if images is None else IMAGE_SECONDS * images
        self.memory = IMAGE_MEMORY
        self.grows = images is not None


class Given:
    """The limits that the user set, grouped by kind. Other limits keep their defaults."""

    __slots__ = (CHILD, COMMAND, IMAGE, READING, RENDERING, "seconds_read")

    def __init__(self) -> None:
        self.rendering: dict[str, int] = {}
        self.reading: dict[str, int] = {}
        self.image: dict[str, int] = {}
        self.child: dict[str, int] = {}
        self.command: dict[str, int] = {}
        #: the processor time that the command used to read the image
        self.seconds_read = 0.0

    def for_rendering(self, seconds: "float | None" = None, total: "float | None" = None) -> "RenderLimits":
        """Return the limits for rendering.

        By default, each template gets ``seconds``, and all templates together get ``total``. The time for
        reading the image is subtracted from ``total``, but at least one second remains. A ``total`` of less
        than a second is not reduced.
        """
        from .pongo2.render_state import Limits

        if total is not None:
            total = min(total, max(1.0, round(total - self.seconds_read, 1)))
        limits = Limits(seconds=seconds, total=total)
        for name, value in self.rendering.items():
            setattr(limits, name, value)
        return limits

    def for_files(self) -> float:
        """Return how many seconds a command may take to read the files of a root filesystem."""
        from .model.render_options import TOTAL

        return self.rendering.get("total", TOTAL)

    def for_reading(self) -> "YamlLimits | None":
        """Return the limits for reading metadata.yaml, or None for the defaults."""
        size = self.image.get("metadata_bytes")
        values = self.reading if size is None else {**self.reading, "bytes": size}
        if not values:
            return None
        from .parsing.yaml_nodes import Limits

        return Limits(**values)

    def for_images(self) -> "ImageLimits":
        """Return the limits for reading images."""
        from .image.limits import DEFAULT

        return DEFAULT._replace(**self.image, template_bytes=self.template)

    @property
    def template(self) -> int:
        """The maximum size of a template in bytes, for reading an image and for compiling the template."""
        return self.rendering.get("source", TEMPLATE_BYTES)

    def for_command(self, images: "int | None" = 1) -> "CommandLimits":
        """Return the limits for a whole command.

        ``images`` is the number of images that the command reads, or None if this number is not known.
        """
        limits = CommandLimits(images)
        for name, value in self.command.items():
            setattr(limits, name, value)
        limits.grows = limits.grows and "processor" not in self.command
        return limits

    def for_daemon(self) -> "CommandLimits":
        """Return the limits for a command that reads instances of a daemon.

        Each instance increases the limit on processor time, but the size of the input does not.
        """
        limits = self.for_command()
        if limits.grows:
            # The limit does not grow with the size of the input, because the daemon chooses that size.
            limits.processor = DAEMON_SECONDS
        return limits

    def for_packing(self) -> "CommandLimits":
        """Return the limits that apply to a command as soon as it begins to pack an image.

        By default, the command may run for a day, with memory for one xz thread on each processor. The caller
        adds ``PACKING_SECONDS`` of processor time for each MiB.
        """
        from os import cpu_count

        limits = self.for_downloads()
        if "memory" not in self.command:
            limits.memory = _PACKING_MEMORY + (cpu_count() or 1) * _PACKING_MEMORY_EACH
        return limits

    def for_downloads(self) -> "CommandLimits":
        """Return the limits for a command that downloads images.

        By default, the command may run for a day.
        """
        limits = self.for_command(None)
        if "time" not in self.command:
            limits.time = _DAY
        return limits

    def for_child(self, wall: float, cpu: int) -> "Bounds":
        """Return the limits for a hook's child process."""
        from .sandbox.child import Bounds

        return Bounds(cpu, wall, **self.child)


def parse(words: "Iterable[str]", kinds: "tuple[str, ...]" = (RENDERING, READING, IMAGE)) -> Given:
    """Parse ``NAME=VALUE`` words. ``kinds`` are the kinds of limits that the command accepts.

    Raises UsageError if a name is unknown or a value is invalid.
    """
    given = Given()
    for word in words:
        name, equals, value = word.partition("=")
        known = [name for name in NAMES if NAMES[name][0] in kinds or (name == "template" and IMAGE in kinds)]
        if name not in known:
            raise UsageError(f"unknown limit '{printable(name)}'", hint=f"known limits: {', '.join(known)}")
        kind, attribute, unit, _ = NAMES[name]
        if not equals:
            raise UsageError(f"the limit '{name}' needs a value", hint=f"write {name}={EXAMPLES[unit]}")
        getattr(given, kind)[attribute] = number(name, value, unit)
    return given


def number(name: str, text: str, unit: str) -> int:
    """Parse the value of a limit, such as ``5m``, ``3M`` or ``16MiB``.

    Raises UsageError for an invalid value.
    """
    digits = text.rstrip("bBkKmMgGiIsShH")
    factor = UNITS[unit].get(text[len(digits) :].lower())
    plain = digits.replace("_", "")
    if factor is None or not (plain.isascii() and plain.isdecimal() and len(plain) < 16):
        raise UsageError(
            f"invalid value '{printable(text)}' for the limit '{name}'", hint=f"write {EXAMPLES[unit]}"
        )
    value = int(plain) * factor
    if not 0 < value <= LARGEST:
        hint = f"the maximum is {LARGEST}" if value else f"write {name}={EXAMPLES[unit]}"
        raise UsageError(f"the limit '{name}' can't be {printable(text)}", hint=hint)
    return value
