"""The state of one render: the compiled program, its inputs and limits, and the data that tags store."""

from time import thread_time

from ..model.entry import TEMPLATE_BYTES
from ..model.errors import LimitError
from .values import MAX, Failure, Function, MethodMap, current_value, to_string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Scope = dict[str, Any]


class Limits:
    """The limits of one render.

    ``steps``: template nodes that loops and macros may run.
    ``output``: characters that the template may print.
    ``values``: characters in all values that the template creates.
    ``depth``: nested macro calls and includes.
    ``seconds``: processor time. By default unlimited, because the speed of machines differs.
    ``source``: characters of the template.
    ``total``: processor seconds for all renders of a run together.
    ``deadline``: the processor time at which ``total`` is used up, or None. `begun` sets it.
    """

    __slots__ = ("deadline", "depth", "output", "seconds", "source", "steps", "total", "values")

    def __init__(
        self,
        steps: int = 3_000_000,
        output: int = 8 << 20,
        values: int = 8 << 20,
        depth: int = 100,
        seconds: "float | None" = None,
        total: "float | None" = None,
        source: int = TEMPLATE_BYTES,
    ) -> None:
        self.steps = steps
        self.output = output
        self.values = values
        self.depth = depth
        self.seconds = seconds
        self.total = total
        self.source = source
        self.deadline: float | None = None

    def begun(self) -> "Limits":
        """Return limits with a deadline for a run that begins now. Without ``total``, return ``self``.

        The calling thread must do all renders of the run, because the deadline refers to this thread's
        processor time.
        """
        if self.total is None or self.deadline is not None:
            return self
        begun = Limits(
            self.steps, self.output, self.values, self.depth, self.seconds, self.total, self.source
        )
        begun.deadline = thread_time() + self.total
        return begun

    @property
    def is_over(self) -> bool:
        return self.deadline is not None and thread_time() > self.deadline

    def late(self) -> LimitError:
        return LimitError(
            f"rendering all templates together takes longer than {self.total:g} seconds",
            hint="find the slow template, or allow ten minutes with --limit time=10m",
        )


DEFAULT_LIMITS = Limits()

#: the work on a value with at most this many characters is not counted
SMALL = 1024
#: each element of a list counts as this many characters
ELEMENT = 16
#: the amount of work (characters, multiplied by a weight) that counts as one step
WORK_OF_STEP = 16

#: the names in the daemons' context, which are known to be valid identifiers
DAEMON_NAMES = frozenset(
    ("trigger", "path", "container", "instance", "config", "devices", "properties", "config_get")
)
#: The context key whose value replaces the dialect's version in ``pongo2.version``.
#: Templates cannot read this key, because it contains a space.
VERSION = " version"
_UNCHECKED = DAEMON_NAMES | {VERSION}


class Place:
    """The source position of a token, with pongo2's line and column.

    * ``start`` and ``end``: offsets in the text that pongo2 gets (see ``Unit`` in `syntax.tokens`)
    * ``name``: pongo2's name of the template
    * ``near``: the token's text
    """

    __slots__ = ("column", "end", "line", "name", "near", "start")

    def __init__(self, name: str, line: int, column: int, near: str, start: int, end: int) -> None:
        self.name = name
        self.line = line
        self.column = column
        self.near = near
        self.start = start
        self.end = end


class Fault(Exception):
    """A failure with its source position.

    * ``message``: the message of the innermost failure
    * ``place``: the position of the innermost failure, an index into `Program.places`, or None if unknown
    * ``text``: pongo2's error text
    """

    def __init__(self, message: str, place: "int | None", text: str, panic: bool = False) -> None:
        super().__init__(text)
        self.message = message
        self.place = place
        self.text = text
        self.panic = panic


class Program:
    """A compiled template that is ready to run.

    ``places`` is empty if the template was compiled without source positions.
    """

    __slots__ = ("bound", "dialect", "old", "open", "places", "safe_super", "units", "version")

    def __init__(self, namespace: "dict[str, Any]") -> None:
        #: for each unit: its function, the names that it reads, its exported macros, and whether it uses the
        #: name "pongo2", whose value depends on the context
        self.units = [
            (root, names, exported, "pongo2" in names or "pongo2" in namespace["BOUND"])
            for root, names, exported in namespace["UNITS"]
        ]
        self.bound: tuple[str, ...] = namespace["BOUND"]
        self.places = [Place(*place) for place in namespace["PLACES"]]
        self.dialect, self.version, self.old = namespace["DIALECT"]
        self.open: Callable[[str, bool], Program | None] = no_templates

    def unit(self, render: "Render", number: int) -> str:
        root, names, exported, has_meta = self.units[number]
        context = render.context
        if exported or not _UNCHECKED.issuperset(context):
            check_context(context, exported)
        scope: Scope = {name: context.get(name) for name in self.bound} if self.bound else {}
        arguments = [*map(context.get, names)]
        if has_meta:
            value = meta(context.get(VERSION) or self.version)
            if "pongo2" in scope:
                scope["pongo2"] = value
            else:
                arguments[names.index("pongo2")] = value
        return root(render, scope, *arguments)  # type: ignore[no-any-return]


class Render:
    """One run of a program: its inputs, the remaining limits, and the data that tags store."""

    depth = 0
    started = 0.0

    def __init__(
        self,
        program: "Program",
        context: "Mapping[str, Any]",
        clock: "float | None",
        seed: "int | None",
        limits: Limits,
    ) -> None:
        self.program = program
        self.context = context
        self.clock_value = clock
        self.seed = seed
        self.limits = limits
        self.left = limits.values
        self.steps = limits.steps
        if limits.seconds is not None:
            self.started = thread_time()
        self.state: dict[int, Any] = {}

    @property
    def clock(self) -> float:
        """Return the time in seconds since the epoch. The time does not change during a render."""
        if self.clock_value is None:
            import time

            self.clock_value = time.time()
        return self.clock_value

    def random(self) -> float:
        """Return the next random number in [0, 1). The generator is splitmix64."""
        if self.seed is None:
            self.seed = int(self.clock * 1e6)
        self.seed = (self.seed + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        mixed = (self.seed ^ (self.seed >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        return (mixed ^ (mixed >> 31)) / (1 << 64)

    def escape(self, text: str) -> str:
        return escape_text(text)

    def merged(self, scope: "Scope") -> "dict[str, Any]":
        """Return the context for an included template.

        The result has all names of the including template's context, and the names that the including
        template has bound.
        """
        context = dict(self.context)
        for name, value in scope.items():
            if name[0] != " " and (value is not None or name in context):
                context[name] = current_value(value)
        return context

    def found(self, value: "Any", if_exists: bool) -> "Program | None":
        """Return the compiled template that is named ``value``, or None if the template is missing.

        Raises Failure if the name is empty, or if the template is missing and ``if_exists`` is false.
        """
        name = to_string(value)
        if not name:
            raise Failure("Filename for 'include'-tag evaluated to an empty string.")
        return self.program.open(name, if_exists)

    def include(
        self,
        program: "Program",
        unit: int,
        context: "dict[str, Any]",
        state: "dict[int, Any] | None" = None,
    ) -> str:
        """Render the template with number ``unit`` of ``program``, and return the output.

        ``state`` has the data that the template's tags have stored. Raises LimitError for too deep nesting.
        """
        if self.depth >= self.limits.depth:
            raise deep(self)
        self.depth += 1
        render = Render(program, context, self.clock_value, self.seed, self.limits)
        render.depth, render.left = self.depth, self.left
        if state is not None:
            render.state = state
        render.steps, render.started = self.steps, self.started
        text = program.unit(render, unit)
        self.depth -= 1
        self.left, self.steps = render.left, render.steps
        self.clock_value, self.seed = render.clock_value, render.seed
        return str(charge(self, text))


def deep(render: Render) -> LimitError:
    return LimitError(
        f"more than {render.limits.depth} macro calls and includes are nested",
        hint="a macro that calls itself needs a condition to stop",
    )


def charge(render: Render, v: "Any") -> "Any":
    """Subtract the size of a large new value from the limit on values, and return the value.

    Raises LimitError if the limit is exceeded.
    """
    if isinstance(v, (str, list)):  # a tuple, because a test for a union takes four times as long
        size = len(v) if isinstance(v, str) else 8 * len(v)
        if size > SMALL:
            render.left -= size
            if render.left < 0:
                raise LimitError(f"the template builds more than {render.limits.values} characters of values")
            check_time(render)
    return v


def weigh(render: Render, v: "Any", weight: int) -> "Any":
    """Subtract the work that an operation will do on a large value from the limits. Return the value.

    ``weight`` is the work for each character: 1 for C code, more for Python code.
    """
    if isinstance(v, str):
        if len(v) > SMALL:
            work(render, len(v) * weight)
    elif isinstance(v, (list, dict)) and len(v) > SMALL // ELEMENT:
        work(render, len(v) * ELEMENT * weight)
    return v


def work(render: Render, amount: int) -> None:
    """Subtract an amount of work from the limits before the work is done.

    Raises LimitError if the work or the time exceeds a limit.
    """
    if amount > MAX:
        raise LimitError(
            f"one filter or operator needs {amount} units of work, more than the limit of {MAX}",
            hint="a unit is one character; slow filters need several units for each character",
        )
    render.steps -= amount // WORK_OF_STEP
    if render.steps < 0:
        raise out_of_steps(render)
    check_time(render)


def out_of_steps(render: Render) -> LimitError:
    return LimitError(
        f"the template takes more than {render.limits.steps} steps",
        hint="a loop runs too often, or filters process large values too often",
    )


def check_time(render: Render) -> None:
    limits = render.limits
    if limits.seconds is not None and thread_time() > render.started + limits.seconds:
        raise LimitError(
            f"the template runs longer than {limits.seconds:g} seconds",
            hint="--limit template-time=5m allows five minutes",
        )
    if limits.is_over:
        raise limits.late()


def escape_text(text: str) -> str:
    text = text.replace("&", "&amp;").replace(">", "&gt;").replace("<", "&lt;")
    return text.replace('"', "&quot;").replace("'", "&#39;")


def no_templates(name: str, if_exists: bool) -> "Program | None":
    if if_exists:
        return None
    raise Failure("unable to resolve template", sender="fromfile")


def meta(version: str) -> MethodMap:
    """Return the value of ``pongo2``: a Go map with the key "version" and the method Update."""
    # A template cannot call Update successfully, because it cannot create the required argument.
    update = Function(lambda _: None, ("pongo2.Context",), gotype="func(pongo2.Context) pongo2.Context")
    return MethodMap({"version": version}, "pongo2.Context", {"Update": lambda _: update})


def check_context(context: "Mapping[str, Any]", exported: "tuple[str, ...]") -> None:
    """Raise Fault if a context key is not an identifier or equals the name of an exported macro."""
    for name, value in context.items():
        if name in _UNCHECKED:
            continue
        plain = name.replace("_", "a")
        if not (plain.isalnum() and plain.isascii()):
            from .golang.fmt import sprintf

            raise Fault(
                f"context key {name!r} is not a valid identifier", None,
                "[Error (where: checkForValidIdentifiers)]"
                f" context-key '{name}' (value: '{sprintf('%+v', value)}') is not a valid identifier",
            )  # fmt: skip
    for name in exported:
        if name in context:
            message = f"context key name '{name}' clashes with macro '{name}'"
            raise Fault(message, None, f"[Error (where: execution) in <string>] {message}")
