"""The functions that generated code calls: for members, calls, loops, macros and counting steps."""

from ..model.errors import LimitError
from . import operators, values
from .render_state import ELEMENT, SMALL, Fault, charge, check_time, deep, escape_text, out_of_steps, weigh
from .values import (
    Block,
    Failure,
    ForLoop,
    Function,
    Panic,
    Safe,
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
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

    from .render_state import Render

    Scope = dict[str, Any]
    Body = Callable[[Scope, list[str]], None]


def escaped(v: "Any") -> str:
    """Return the text that a template prints for a value if autoescape is on.

    All strings are escaped, except `Safe` strings.
    """
    if isinstance(v, str):
        return str(v) if type(v) is Safe else escape_text(v)
    return to_string(v)


def escaped_if(on: bool, v: "Any") -> str:
    return escaped(v) if on else to_string(v)


SMALL_LIST = SMALL // ELEMENT
PORTION = 2_000  # the number of steps between two checks of the time limit


def budget(render: "Render") -> "tuple[int, int]":
    """Return the number of steps until the first check of the limits, and the maximum length of output."""
    return portion(render), render.limits.output


def portion(render: "Render") -> int:
    left = render.steps
    steps = left if left < PORTION else PORTION
    render.steps = left - steps
    return steps


def spent(render: "Render", steps: int, left: int) -> int:
    """Take the next portion from the remaining steps of a render, and return its size.

    * ``steps``: the unused part of the last portion, or a negative number if the code used more steps
    * ``left``: the number of characters that the template may still print

    Raises LimitError if the render exceeds a limit.
    """
    if left < 0:
        raise too_long(render)
    render.steps += steps
    if render.steps < 0:
        raise out_of_steps(render)
    check_time(render)
    return portion(render)


def too_long(render: "Render") -> LimitError:
    return LimitError(f"the template prints more than {render.limits.output} characters")


def finish(render: "Render", pieces: "list[str]") -> str:
    if sum(map(len, pieces)) > render.limits.output:
        raise too_long(render)
    text = "".join(pieces)
    return text if text.isascii() else recombine(text)


def captured(render: "Render", pieces: "list[str]") -> str:
    """Return the text that a body printed. A long text counts towards the limit on computed values."""
    size = sum(map(len, pieces))
    grow(size)
    if size > 1024:
        render.left -= size
        if render.left < 0:
            raise LimitError(f"the template builds more than {render.limits.values} characters of values")
    return recombine("".join(pieces))


def operate(render: "Render", operator: "Callable[..., Any]", *operands: "Any") -> "Any":
    """Count the work for large operands, then apply the operator."""
    for v in operands:
        if isinstance(v, (str, list)) and len(v) > SMALL_LIST:
            weigh(render, v, 1)
    return operator(*operands)


def called(v: "Any") -> "Any":
    """Return the value of a variable. If the variable holds a function, return the function's result."""
    return call(v, ()) if type(v) is Function else v


def text_of(v: "Any") -> str:
    """Return the text that a template prints for a variable."""
    return to_string(called(v))


def call(v: "Any", arguments: "tuple[Any, ...]") -> "Any":
    """Call a value. Calling nil returns nil.

    Raises Failure if the value is neither nil nor a function, or if the function rejects these arguments.
    """
    if type(v) is not Function:
        if v is None:
            return None
        raise Failure(f"is not a function (it is {kind(v)})")
    if v.simple == len(arguments):
        return v.call(*arguments)
    check_call(v, len(arguments))
    return v.call(*[checked_argument(v, index, argument) for index, argument in enumerate(arguments)])


def check_call(v: Function, given: int) -> None:
    """Raise Failure if pongo2 cannot call a function with ``given`` arguments (a number).

    pongo2 can only call a function with one or two results.
    """
    count = len(v.params)
    if given != count and not (v.variadic and given >= count - 1):
        raise Failure(
            f"function input argument count ({count}) of "
            f"| must be equal to the calling argument count ({given})"
        )
    if v.results not in (1, 2):
        raise Failure("must have exactly 1 or 2 output arguments, the second argument must be of type error")


def checked_argument(v: Function, index: int, argument: "Any") -> "Any":
    """Return an argument of a function. Raises Failure if the parameter has another type."""
    wanted = v.params[min(index, len(v.params) - 1)]
    if wanted not in (values.VALUE, "interface {}") and values.gotype(argument) != wanted:
        where = "variadic input argument of |" if v.variadic else f"input argument {index} of |"
        raise Failure(
            f"function {where} must be of type {wanted} or *pongo2.Value (not {values.gotype(argument)})"
        )
    return argument


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
    """Return a member that a template calls, or None for a missing member.

    Raises Failure if the member exists but is None.
    """
    if type(v) is Function:
        v = call(v, ())
    found = getter(v, key)
    if found is None and ((isinstance(v, list) and key < len(v)) or (isinstance(v, dict) and key in v)):
        # Calling this member fails. Calling a missing member does not fail.
        raise Failure("is not a function (it is invalid)")
    return found


def nil_call(state: int, path: str) -> None:
    """Raise Failure if the called variable was set to nil by a tag such as ``set`` (``state`` 1).

    Raise Panic instead if ``path`` is empty.
    """
    # Calls of unset variables and of macro arguments do not fail.
    if state == 1 and not path:
        raise Panic("unimplemented")  # pongo2 cannot print a path with a subscript
    if state == 1:
        raise Failure(f"'{path}' is not a function (it is invalid)")


def loop(cell: "list[int]", parent: "Any", public: "Any", state: int) -> ForLoop:
    """Return ``forloop`` as it is before the first round of a loop. Raises Panic where Go panics.

    ``parent`` is the value of ``forloop`` outside the loop, and ``public`` is its value in the context.
    ``state`` tells what has bound ``forloop``:

    * 0: nothing. If ``parent`` is the value in the context, pongo2 ignores this value.
    * 1: a tag such as ``set``. Go always panics.
    * 2: an argument of a macro. Go panics if ``parent`` is neither a loop nor nil.
    """
    if parent is public and not state:
        parent = None
    if state == 1 or not (parent is None or type(parent) is ForLoop):
        raise Panic("interface conversion: interface {} is *pongo2.Value, not *pongo2.tagForLoopInformation")
    return ForLoop(cell, -1, parent)


def start_loop(forloop: ForLoop, items: "list[Any]", backward: "Any") -> None:
    """Set the fields of ``forloop`` that depend on the iterated value.

    ``backward`` is the iterated value of a ``reversed`` loop, or false for any other loop.
    """
    forloop.count = len(items)
    # If the iterated value is a string, pongo2 counts the rounds down.
    forloop.backward = isinstance(backward, str)


def rounds(forloop: ForLoop, items: "list[Any]") -> "Iterable[tuple[int, Any]]":
    """Return an index and an item for each round of a loop.

    In a ``reversed`` loop over a string, the index counts down.
    """
    if forloop.backward:
        return zip(range(len(items) - 1, -1, -1), items, strict=True)
    return enumerate(items)


def enter(
    render: "Render",
    scope: "Scope",
    name: str,
    parameters: "tuple[str, ...]",
    defaults: "tuple[Any, ...]",
    arguments: "tuple[Any, ...]",
) -> "Scope":
    """Return the scope of a macro call: the scope of the macro's definition, plus parameters.

    Raises Failure if the call has too many arguments.
    """
    if len(arguments) > len(parameters):
        message = (
            f"Macro '{name}' called with too many arguments ({len(arguments)} instead of {len(parameters)})."
        )
        raise Failure(message)
    made = {**scope, **dict(zip(parameters, defaults, strict=True))}
    for parameter, argument in zip(parameters, arguments, strict=False):
        made[parameter] = str(argument) if type(argument) is Safe else argument
    return made


def macro(render: "Render", body: "Callable[[Scope, tuple[Any, ...]], str]", scope: "Scope") -> Function:
    """Return the function that runs when a template calls a macro."""

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


def block(render: "Render", scope: "Scope", above: "tuple[Body, ...]") -> Block:
    """Return the value of the variable ``block``. Its method ``Super`` renders the replaced body.

    ``above`` has all replaced bodies, beginning with the body of the outermost template.
    """

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
            # In the v4 dialect, Super returns "" if the replaced body fails.
            if not render.program.old or (isinstance(error, Fault) and error.panic):
                raise
            return ""
        finally:
            render.depth -= 1
        text = captured(render, pieces)
        return text if render.program.old else Safe(text)

    return Block(super_)


def no_block(render: "Render") -> "NoReturn":
    """Raise pongo2's Failure for a block that the rendered template does not contain."""
    raise Failure("internal error: len(block_wrappers) == 0 in tagBlockNode.Execute()")


def unknown_filter(name: str, value: "Any" = None, argument: "Any" = None) -> "NoReturn":
    raise Failure(
        f"filter with name '{name}' not found", f"Filter with name '{name}' not found.", "applyfilter"
    )


#: the globals of generated code, which has no access to Python's builtins
NAMESPACE: "dict[str, Any]" = {
    function.__name__: function
    for function in (
        *(
            block,
            budget,
            call,
            called,
            captured,
            charge,
            enter,
            escaped,
            escaped_if,
            field,
            finish,
            get_field,
            text_of,
        ),
        *(get_index, index, item, loop, macro, member, nil_call, rounds, spent, start_loop, to_string),
        *(
            operate,
            unknown_filter,
            weigh,
            operators.add_v4,
            operators.add_v6,
            operators.contains,
            operators.div,
            operators.equal,
        ),
        *(
            operators.greater,
            operators.greater_or_equal,
            values.iterate,
            operators.less,
            operators.less_or_equal,
        ),
        *(operators.mod, operators.mul, operators.negate, operators.negative, operators.sub),
        *(
            values.loop_field,
            values.current_value,
            ForLoop,
            values.LoopField,
            Function,
            values.GoMap,
            type,
            str,
            len,
            enumerate,
        ),
    )
}
NAMESPACE["__builtins__"] = {}
NAMESPACE["get"] = dict.get
NAMESPACE["MAPS"] = (values.GoMap, values.MethodMap)
