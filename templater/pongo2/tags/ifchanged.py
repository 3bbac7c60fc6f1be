"""``{% ifchanged [expression …] %} … [{% else %} …] {% endifchanged %}``.

The tag shows its body if an expression has changed since the tag's previous run. Without expressions, the
body's text must differ from the text that the tag last printed.
"""

from ..operators import equal
from ..render_state import weigh
from ..syntax.tree import Capture, Do, If, Invoke, Remembered
from ..values import Panic, current_value
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from ..render_state import Render
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token
    from ..syntax.tree import Expression


@tag("ifchanged")
def ifchanged(document: "Parser", start: "Token", arguments: "Parser") -> "Capture | If":
    watched: list[Expression] = []
    while arguments.current is not None:
        watched.append(arguments.expression())
    body, end = document.plain_body("else", "endifchanged")
    otherwise = document.plain_body("endifchanged")[0] if end == "else" else None
    number = next(document.document.numbers)
    fixed = document.document.dialect.fixed
    # Before pongo2 6.1, a tag without expressions never renders its ``else``. A tag with expressions but
    # without ``else`` panics if the expressions are unchanged.
    if not watched:
        return Capture(Invoke(start, changed_text, number), body, otherwise if fixed else None)
    if otherwise is None and not fixed:
        otherwise = [Do(Invoke(start, no_else))]
    return If([(Invoke(start, differs, number, *map(Remembered, watched)), body)], otherwise)


def changed_text(render: "Render", text: str, number: int) -> "str | None":
    """Return the body's text, or None if the text equals the text that the tag last printed."""
    if render.state.get(number, "") == text:
        return None
    render.state[number] = text
    return text


def differs(render: "Render", number: int, *values: "Any") -> bool:
    last = render.state.get(number)
    render.state[number] = values
    for value in values:
        weigh(render, current_value(value), 1)
    if last is None:
        return True
    return any(
        not equal(current_value(old), current_value(new)) for old, new in zip(last, values, strict=True)
    )


def no_else(render: "Render") -> "NoReturn":
    raise Panic("runtime error: invalid memory address or nil pointer dereference")
