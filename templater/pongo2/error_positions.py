"""The source positions that failed renders report.

The function `positions` computes the positions for a template that is compiled with ``spans=True``. Generated
code calls the other functions, which add a position to each failure. A ``place`` is an index into
``program.places``.
"""

from .render_state import Fault
from .runtime_calls_and_loops import (
    call,
    check_call,
    checked_argument,
    field,
    index,
    item,
    member,
    unknown_filter,
)
from .values import Failure, Function, Panic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from .render_state import Program, Render
    from .syntax.tokens import Token

    Position = tuple[str, int, int, str, int, int]


def positions(tokens: "Iterable[Token]") -> "Iterator[Position]":
    """Yield the arguments of ``Place`` (see `render_state`) for each token.

    The function scans the text of each template only once, for all tokens of that template.
    """
    tokens = list(tokens)
    found: dict[int, tuple[int, int]] = {}
    for unit in {id(token.unit): token.unit for token in tokens}.values():
        text, done, line, column = unit.text, 0, 1, 1
        for token in sorted((t for t in tokens if t.unit is unit), key=lambda t: t.start):
            between = text[done : token.start]
            newline = between.rfind("\n")
            if newline >= 0:
                line, column = line + between.count("\n"), 1
            column += len(between[newline + 1 :].encode("utf-8", "surrogateescape"))
            done = token.start
            found[id(token)] = line, column
    for token in tokens:
        yield token.unit.name, *found[id(token)], token.value, token.start, token.end


def text_at(
    program: "Program", place: int, message: str, sender: str = "execution", name: bool = True
) -> str:
    """Return the text that pongo2 prints for an error at a source position."""
    p = program.places[place]
    where = f" in {p.name}" if name else ""
    return f"[Error (where: {sender}){where} | Line {p.line} Col {p.column} near '{p.near}'] {message}"


def fault_at(render: "Render", place: int, message: str) -> Fault:
    return Fault(message, place, text_at(render.program, place, message))


def panic_at(place: int, panic: Panic) -> Fault:
    return Fault(panic.message, place, f"panic: {panic.message}", panic=True)


def at(render: "Render", place: int, function: "Callable[..., Any]", *arguments: "Any") -> "Any":
    """Call ``function`` and return its result. If it fails, raise Fault with the source position."""
    try:
        return function(*arguments)
    except Failure as failure:
        raise fault_at(render, place, failure.v4 if render.program.old else failure.message) from None
    except Panic as panic:
        raise panic_at(place, panic) from None


def path_error(render: "Render", place: int, failure: Failure, path: str) -> Fault:
    """Return the Fault for a failed lookup or call, with the message of pongo2.

    ``path`` is empty if the path has a subscript.
    """
    message = failure.message
    if not path and message.startswith(("can't access", "is not a function", "must have", "function ")):
        # pongo2 panics, because it cannot print a path with a subscript.
        return panic_at(place, Panic("unimplemented"))
    if message.startswith("can't access"):
        message = f"{message} (variable {path})"
    elif message.startswith(("is not a function", "must have exactly")):
        message = f"'{path}' {message}"
    elif message.startswith("function "):
        message = message.replace("|", f"'{path}'", 1)
        if render.program.old:
            message += "."
    if render.program.old and message.startswith(("can't", "function ")):
        message = message[0].upper() + message[1:]
    return fault_at(render, place, message)


def path_at(
    render: "Render", place: int, path: str, function: "Callable[..., Any]", *arguments: "Any"
) -> "Any":
    """Call ``function``, one step of a path, such as a lookup or a call. Raises Fault if the step fails."""
    try:
        return function(*arguments)
    except Failure as failure:
        raise path_error(render, place, failure, path) from None
    except Panic as panic:
        raise panic_at(place, panic) from None
    except Fault as fault:
        if not fault.panic:
            # An argument or a macro raised this Fault. pongo2 puts the position of the path before the text.
            fault.text = text_at(render.program, place, fault.text)
        raise


def value_at(render: "Render", place: int, v: "Any", path: str) -> "Any":
    return path_at(render, place, path, call, v, ()) if type(v) is Function else v


def field_at(render: "Render", place: int, v: "Any", name: str, path: str) -> "Any":
    return path_at(render, place, path, field, v, name)


def index_at(render: "Render", place: int, v: "Any", number: int, path: str) -> "Any":
    return path_at(render, place, path, index, v, number)


def item_at(render: "Render", place: int, v: "Any", key: "Callable[[], Any]", path: str) -> "Any":
    return path_at(render, place, path, lambda: item(v, key()))


def member_at(
    render: "Render", place: int, getter: "Callable[[Any, Any], Any]", v: "Any", key: "Any", path: str
) -> "Any":
    return path_at(render, place, path, member, getter, v, key)


def call_at(
    render: "Render", place: int, v: "Any", path: str, arguments: "tuple[Callable[[], Any], ...]"
) -> "Any":
    return path_at(render, place, path, lambda: call_checked(v, arguments))


def call_checked(v: "Any", arguments: "tuple[Callable[[], Any], ...]") -> "Any":
    """Call a template value as a function.

    As in pongo2, evaluate no argument if the number of arguments is wrong. Stop at the first invalid
    argument.
    """
    if type(v) is not Function:
        return call(v, ())
    check_call(v, len(arguments))
    return v.call(*[checked_argument(v, index, value()) for index, value in enumerate(arguments)])


def filter_at(
    render: "Render", place: int, of_tag: bool, name: str, function: "Callable[..., Any]", *arguments: "Any"
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


NAMESPACE = {
    function.__name__: function
    for function in (at, call_at, field_at, filter_at, index_at, item_at, member_at, value_at)
}
