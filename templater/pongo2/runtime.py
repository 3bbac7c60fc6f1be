"""What compiled templates run on. Lean: a kept compilation needs this, ``values`` and its filters only."""

from ..errors import LimitError, RenderError, TemplaterError
from . import values
from .values import (
    Block,
    Failure,
    ForLoop,
    Function,
    GoMap,
    MethodMap,
    Panic,
    Safe,
    TooLarge,
    get_field,
    get_index,
    grow,
    kind,
    recombine,
    subscript,
    to_string,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import CodeType
    from typing import Any, NoReturn

    Scope = dict[str, Any]
    Body = Callable[[Scope, list[str]], None]


class Limits:
    """How much one render may do. ``steps``: pieces of template run in loops and macros; ``output`` and
    ``values``: characters printed, and built as values; ``depth``: calls of macros within each other."""

    __slots__ = ("depth", "output", "steps", "values")

    def __init__(
        self, steps: int = 3_000_000, output: int = 8 << 20, values: int = 8 << 20, depth: int = 100
    ) -> None:
        self.steps = steps
        self.output = output
        self.values = values
        self.depth = depth


DEFAULT_LIMITS = Limits()


class Place:
    """A token as errors need it: pongo2's position of it, and where it is in the user's source."""

    __slots__ = ("column", "end", "line", "name", "near", "start")

    def __init__(self, name: str, line: int, column: int, near: str, start: int, end: int) -> None:
        self.name = name
        self.line = line
        self.column = column
        self.near = near
        self.start = start
        self.end = end


class Fault(Exception):
    """A failure with its place. ``text`` is pongo2's; ``message`` and ``place`` are the innermost ones,
    which is what a user wants to see."""

    def __init__(self, message: str, place: "int | None", text: str, panic: bool = False) -> None:
        super().__init__(text)
        self.message = message
        self.place = place
        self.text = text
        self.panic = panic


class Render:
    """One run of a program: its inputs, and what tags remember in it."""

    __slots__ = ("clock_value", "context", "depth", "left", "limits", "program", "seed", "state")

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
        self.depth = 0
        self.state: dict[int, Any] = {}

    @property
    def clock(self) -> float:
        """Seconds since the epoch; the same in the whole render."""
        if self.clock_value is None:
            import time

            self.clock_value = time.time()
        return self.clock_value

    def random(self) -> float:
        """The next of the seed's numbers in [0, 1), by splitmix64."""
        if self.seed is None:
            self.seed = int(self.clock * 1e6)
        self.seed = (self.seed + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        mixed = (self.seed ^ (self.seed >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        return (mixed ^ (mixed >> 31)) / (1 << 64)

    def escape(self, text: str) -> str:
        return escaped(text)

    def merged(self, scope: "Scope") -> "dict[str, Any]":
        """Public and private names as one context, for an included template."""
        context = dict(self.context)
        for name, value in scope.items():
            if name[0] != " " and (value is not None or name in context):
                context[name] = value
        return context

    def include(self, target: "Any", context: "dict[str, Any]", if_exists: bool) -> str:
        """The output of another template: one compiled in, or one whose name is only known now."""
        program, unit = self.program, target
        if not isinstance(target, int) or isinstance(target, bool):
            name = to_string(target)
            if not name:
                raise Failure("Filename for 'include'-tag evaluated to an empty string.")
            found = program.open(name, if_exists)
            if found is None:
                return ""
            program, unit = found, 0
        if self.depth >= self.limits.depth:
            raise deep(self)
        self.depth += 1
        render = Render(program, context, self.clock_value, self.seed, self.limits)
        render.depth, render.left = self.depth, self.left
        text = program.unit(render, unit)
        self.depth -= 1
        self.left, self.clock_value, self.seed = render.left, render.clock_value, render.seed
        return charge(self, text)  # type: ignore[no-any-return]


def deep(render: Render) -> LimitError:
    return LimitError(
        f"macros and includes call each other more than {render.limits.depth} deep",
        hint="a macro that calls itself needs an end",
    )


class Program:
    """A compilation, ready to run. ``places`` is empty unless it was made with spans."""

    __slots__ = ("bound", "dialect", "old", "open", "places", "safe_super", "units", "version")

    def __init__(self, namespace: "dict[str, Any]") -> None:
        self.units = namespace["UNITS"]
        self.bound: tuple[str, ...] = namespace["BOUND"]
        self.places = [Place(*place) for place in namespace["PLACES"]]
        self.dialect, self.version, self.old = namespace["DIALECT"]
        self.open: Callable[[str, bool], Program | None] = no_templates

    def unit(self, render: Render, number: int) -> str:
        root, names, exported = self.units[number]
        context = render.context
        check_context(context, exported)
        scope: Scope = {name: context.get(name) for name in self.bound} if self.bound else {}
        if "pongo2" in scope:
            scope["pongo2"] = meta(self)
        arguments = [context.get(name) for name in names]
        if "pongo2" in names:
            arguments[names.index("pongo2")] = meta(self)
        return root(render, scope, *arguments)  # type: ignore[no-any-return]


def no_templates(name: str, if_exists: bool) -> "Program | None":
    if if_exists:
        return None
    raise Failure("unable to resolve template", sender="fromfile")


def meta(program: Program) -> MethodMap:
    """``pongo2``, a Go map with one key and a method that no template can call rightly."""
    update = Function(lambda _: None, ("pongo2.Context",), gotype="func(pongo2.Context) pongo2.Context")
    return MethodMap({"version": program.version}, "pongo2.Context", {"Update": update})


def check_context(context: "Mapping[str, Any]", exported: "tuple[str, ...]") -> None:
    """Names must be identifiers, and no exported macro's."""
    names = "".join(context).replace("_", "")
    if context and ("" in context or not (names.isalnum() and names.isascii()) and names):
        for name, value in context.items():
            plain = name.replace("_", "a")
            if not (plain.isalnum() and plain.isascii()):
                raise Fault(
                    f"context key {name!r} is not a valid identifier", None,
                    "[Error (where: checkForValidIdentifiers)]"
                    f" context-key '{name}' (value: '{go_plus_v(value)}') is not a valid identifier",
                )  # fmt: skip
    for name in exported:
        if name in context:
            message = f"context key name '{name}' clashes with macro '{name}'"
            raise Fault(message, None, f"[Error (where: execution) in <string>] {message}")


def go_plus_v(value: "Any") -> str:
    """Go's %+v."""
    from .gofmt import sprintf

    return sprintf("%+v", value)


def load(code: "CodeType") -> Program:
    """Run a compilation's module and fetch the filters and tags' functions that it names."""
    namespace: dict[str, Any] = dict(NAMESPACE)
    exec(code, namespace)  # noqa: S102 - the code that our own compiler wrote
    for alias, module, name in namespace["IMPORTS"]:
        namespace[alias] = getattr(__import__(module, None, None, ("*",)), name)
    return Program(namespace)


def execute(
    program: Program,
    context: "Mapping[str, Any]",
    clock: "float | None" = None,
    seed: "int | None" = None,
    limits: "Limits | None" = None,
) -> str:
    """Render, or raise: LimitError, or a Failure, Panic or Fault that the caller makes an error of."""
    try:
        return program.unit(Render(program, context, clock, seed, limits or DEFAULT_LIMITS), 0)
    except TooLarge as error:
        raise LimitError(f"the template builds {error}, more than the limit of {values.MAX}") from None
    except RecursionError:
        raise LimitError("the template nests too deeply to be rendered") from None
    except MemoryError:
        raise LimitError("the template needs more memory than there is") from None


def run(
    code: "CodeType",
    context: "Mapping[str, Any]",
    *,
    clock: "float | None" = None,
    seed: "int | None" = None,
    limits: "Limits | None" = None,
) -> str:
    """Render a kept compilation. A failure has no place: compile again with spans to find it."""
    try:
        return execute(load(code), context, clock, seed, limits)
    except (Failure, Panic, Fault) as error:
        raise unplaced(error) from None


def unplaced(error: "Failure | Panic | Fault") -> TemplaterError:
    """The error without a place."""
    made = RenderError(words(error.message))
    if isinstance(error, Fault):
        made.pongo2_error = error.text
    return made


def words(message: str) -> str:
    """pongo2's message in the style of ours."""
    message = message.removesuffix(".")
    if message[:1].isupper() and not message[1:2].isupper():
        message = message[0].lower() + message[1:]
    return message


# --- what generated code calls -------------------------------------------------------------------


def escape_text(text: str) -> str:
    text = text.replace("&", "&amp;").replace(">", "&gt;").replace("<", "&lt;")
    return text.replace('"', "&quot;").replace("'", "&#39;")


def escaped(v: "Any") -> str:
    """The text of a printed value under autoescape: strings are escaped unless they are safe."""
    if isinstance(v, str):
        return str(v) if type(v) is Safe else escape_text(v)
    return to_string(v)


def escaped_if(on: bool, v: "Any") -> str:
    return escaped(v) if on else to_string(v)


def budget(render: Render) -> "tuple[int, int]":
    return render.limits.steps, render.limits.output


def spent(render: Render, steps: int, left: int) -> "NoReturn":
    if left < 0:
        raise too_long(render)
    raise LimitError(
        f"the template takes more than {render.limits.steps} steps",
        hint="a loop in it runs too often",
    )


def too_long(render: Render) -> LimitError:
    return LimitError(f"the template prints more than {render.limits.output} characters")


def charge(render: Render, v: "Any") -> "Any":
    """Count a large value against what the render may build."""
    if isinstance(v, str | list):
        size = len(v) if isinstance(v, str) else 8 * len(v)
        if size > 1024:
            render.left -= size
            if render.left < 0:
                raise LimitError(f"the template builds more than {render.limits.values} characters of values")
    return v


def finish(render: Render, pieces: "list[str]") -> str:
    if sum(map(len, pieces)) > render.limits.output:
        raise too_long(render)
    return recombine("".join(pieces))


def captured(render: Render, pieces: "list[str]") -> str:
    """What a body printed, as a value."""
    size = sum(map(len, pieces))
    grow(size)
    if size > 1024:
        render.left -= size
        if render.left < 0:
            raise LimitError(f"the template builds more than {render.limits.values} characters of values")
    return recombine("".join(pieces))


def call(v: "Any", arguments: "tuple[Any, ...]") -> "Any":
    """Call a value, if it is a function and takes these arguments."""
    if type(v) is not Function:
        if v is None:
            return None
        raise Failure(f"is not a function (it is {kind(v)})")
    parameters = v.params
    count = len(parameters)
    if len(arguments) != count and not (v.variadic and len(arguments) >= count - 1):
        raise Failure(
            f"function input argument count ({count}) of "
            f"| must be equal to the calling argument count ({len(arguments)})"
        )
    for index, argument in enumerate(arguments):
        wanted = parameters[min(index, count - 1)]
        if wanted not in ("*pongo2.Value", "interface {}") and values.gotype(argument) != wanted:
            where = "variadic input argument of |" if v.variadic else f"input argument {index} of |"
            raise Failure(
                f"function {where} must be of type {wanted} or *pongo2.Value (not {values.gotype(argument)})"
            )
    return v.call(*arguments)


def field(v: "Any", name: str) -> "Any":
    if type(v) is Function:
        v = call(v, ())
    found = get_field(v, name)
    return call(found, ()) if type(found) is Function else found


def index(v: "Any", number: int) -> "Any":
    if type(v) is Function:
        v = call(v, ())
    found = get_index(v, number)
    return call(found, ()) if type(found) is Function else found


def item(v: "Any", key: "Any") -> "Any":
    found = subscript(v, key)
    return call(found, ()) if type(found) is Function else found


def member(getter: "Callable[[Any, Any], Any]", v: "Any", key: "Any") -> "Any":
    """A member that is going to be called."""
    return getter(call(v, ()) if type(v) is Function else v, key)


def nil_call(is_set: bool, path: str) -> None:
    """An unset name may be called; a variable that holds nil may not."""
    if is_set:
        raise Failure(f"'{path}' is not a function (it is invalid)")


def loop(cell: "list[int]", parent: "Any", public: "Any") -> ForLoop:
    """``forloop`` before the first round. What the public context calls so is no loop of ours."""
    if parent is public:
        parent = None
    elif parent is not None and type(parent) is not ForLoop:
        raise Panic("interface conversion: interface {} is *pongo2.Value, not *pongo2.tagForLoopInformation")
    return ForLoop(cell, -1, parent)


def start_loop(forloop: ForLoop, items: "list[Any]", backward: "Any") -> None:
    """``backward`` is what is iterated, if it is so in reverse: strings are numbered downwards."""
    forloop.count = len(items)
    forloop.backward = isinstance(backward, str)


def rounds(forloop: ForLoop, items: "list[Any]") -> "Iterable[tuple[int, Any]]":
    """Numbered items; those of a reversed string are numbered downwards."""
    if forloop.backward:
        return zip(range(len(items) - 1, -1, -1), items, strict=True)
    return enumerate(items)


def enter(
    render: Render,
    scope: "Scope",
    place: int,
    name: str,
    parameters: "tuple[str, ...]",
    defaults: "tuple[Any, ...]",
    arguments: "tuple[Any, ...]",
) -> "Scope":
    """A macro's own scope: a copy of the one it was defined in, as that is now, and its parameters."""
    if len(arguments) > len(parameters):
        message = (
            f"Macro '{name}' called with too many arguments ({len(arguments)} instead of {len(parameters)})."
        )
        if not render.program.places:
            raise Failure(message)
        raise fault_at(render, place, message)
    made = {**scope, **dict(zip(parameters, defaults, strict=True))}
    for parameter, argument in zip(parameters, arguments, strict=False):
        made[parameter] = str(argument) if type(argument) is Safe else argument
    return made


def macro(render: Render, body: "Callable[[Scope, tuple[Any, ...]], str]", scope: "Scope") -> Function:
    """The function that a macro's name is bound to."""

    def call_macro(*arguments: "Any") -> Safe:
        if render.depth >= render.limits.depth:
            raise deep(render)
        render.depth += 1
        try:
            return Safe(body(scope, arguments))
        except Fault as fault:
            if not render.program.old or fault.panic:
                raise
            return Safe(fault.text)
        finally:
            render.depth -= 1

    return Function(
        call_macro, ("*pongo2.Value",), variadic=True, gotype="func(...*pongo2.Value) (*pongo2.Value, error)"
    )


def block(render: Render, scope: "Scope", above: "tuple[Body, ...]") -> Block:
    """``block``: its Super renders the body that this one replaces, and hides that one's errors."""

    def super_() -> str:
        if not above:
            return ""
        inner = dict(scope)
        inner["block"] = block(render, scope, above[:-1])
        pieces: list[str] = []
        if render.depth >= render.limits.depth:
            raise deep(render)
        render.depth += 1
        try:
            above[-1](inner, pieces)
        except (Failure, Fault) as error:
            if isinstance(error, Fault) and error.panic:
                raise
            return ""
        finally:
            render.depth -= 1
        text = captured(render, pieces)
        return text if render.program.old else Safe(text)

    return Block(super_)


def unknown_filter(name: str, value: "Any" = None, argument: "Any" = None) -> "NoReturn":
    raise Failure(
        f"filter with name '{name}' not found", f"Filter with name '{name}' not found.", "applyfilter"
    )


# --- the same with places --------------------------------------------------------------------------


def text_at(program: Program, place: int, message: str, sender: str = "execution", name: bool = True) -> str:
    """pongo2's text of an error at a place."""
    p = program.places[place]
    where = f" in {p.name}" if name else ""
    return f"[Error (where: {sender}){where} | Line {p.line} Col {p.column} near '{p.near}'] {message}"


def fault_at(render: Render, place: int, message: str) -> Fault:
    return Fault(message, place, text_at(render.program, place, message))


def panic_at(place: int, panic: Panic) -> Fault:
    return Fault(panic.message, place, f"panic: {panic.message}", panic=True)


def at(render: Render, place: int, function: "Callable[..., Any]", *arguments: "Any") -> "Any":
    """Any operation."""
    try:
        return function(*arguments)
    except Failure as failure:
        raise fault_at(render, place, failure.v4 if render.program.old else failure.message) from None
    except Panic as panic:
        raise panic_at(place, panic) from None


def path_error(render: Render, place: int, failure: Failure, path: str) -> Fault:
    """A failed look-up or call, with the variable's whole name where pongo2 says it."""
    message = failure.message
    if message.startswith("can't access"):
        message = f"{message} (variable {path})"
    elif message.startswith("is not a function"):
        message = f"'{path}' {message}"
    elif message.startswith("function "):
        message = message.replace("|", f"'{path}'", 1)
        if render.program.old:
            message += "."
    if render.program.old and message.startswith(("can't", "function ")):
        message = message[0].upper() + message[1:]
    return fault_at(render, place, message)


def path_at(
    render: Render, place: int, path: str, function: "Callable[..., Any]", *arguments: "Any"
) -> "Any":
    """A step of a path. What fails inside it, in arguments or in a macro, pongo2 wraps once more."""
    try:
        return function(*arguments)
    except Failure as failure:
        raise path_error(render, place, failure, path) from None
    except Panic as panic:
        raise panic_at(place, panic) from None
    except Fault as fault:
        if not fault.panic:
            fault.text = text_at(render.program, place, fault.text)
        raise


def value_at(render: Render, place: int, v: "Any", path: str) -> "Any":
    return path_at(render, place, path, call, v, ()) if type(v) is Function else v


def field_at(render: Render, place: int, v: "Any", name: str, path: str) -> "Any":
    return path_at(render, place, path, field, v, name)


def index_at(render: Render, place: int, v: "Any", number: int, path: str) -> "Any":
    return path_at(render, place, path, index, v, number)


def item_at(render: Render, place: int, v: "Any", key: "Callable[[], Any]", path: str) -> "Any":
    return path_at(render, place, path, lambda: item(v, key()))


def member_at(
    render: Render, place: int, getter: "Callable[[Any, Any], Any]", v: "Any", key: "Any", path: str
) -> "Any":
    return path_at(render, place, path, member, getter, v, key)


def call_at(
    render: Render, place: int, v: "Any", path: str, arguments: "Callable[[], tuple[Any, ...]]"
) -> "Any":
    return path_at(render, place, path, lambda: call_checked(v, arguments))


def call_checked(v: "Any", arguments: "Callable[[], tuple[Any, ...]]") -> "Any":
    """That it is a function is asked before its arguments are worked out."""
    return call(v, arguments() if type(v) is Function else ())


def filter_at(
    render: Render, place: int, of_tag: bool, name: str, function: "Callable[..., Any]", *arguments: "Any"
) -> "Any":
    try:
        return unknown_filter(name) if function is unknown_filter else function(*arguments)
    except Failure as failure:
        message = failure.v4 if render.program.old else failure.message
        sender = failure.sender or f"filter:{name}"
        if of_tag:
            text = text_at(render.program, place, f"[Error (where: {sender})] {message}")
        else:
            text = text_at(render.program, place, message, sender, name=False)
        raise Fault(message, place, text) from None
    except Panic as panic:
        raise panic_at(place, panic) from None


NAMESPACE = (
    {
        name: globals()[name]
        for name in (
            "Function GoMap at block budget call call_at captured charge enter escaped escaped_if field field_at"
            " filter_at finish get_field get_index index index_at item item_at loop macro member member_at"
            " nil_call rounds spent start_loop to_string unknown_filter value_at"
        ).split()
    }
    | {
        name: getattr(values, name)
        for name in (
            "add_v4 add_v6 contains div equal greater greater_or_equal iterate less less_or_equal mod mul"
            " negate negative power sub"
        ).split()
    }
    | {"__builtins__": {}, "type": type, "str": str, "len": len, "enumerate": enumerate, "get": dict.get}
)
