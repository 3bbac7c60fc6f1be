"""``{% cycle a b … [as name [silent]] %}``: print the next argument each time the tag is rendered."""

from ..syntax.tree import Do, Invoke, Lazy, Print, Scope
from ..values import CycleValue, Panic, to_string
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..render_state import Render
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token
    from ..syntax.tree import Expression

    Item = Callable[[dict[str, Any]], Any]


@tag("cycle")
def cycle(document: "Parser", start: "Token", arguments: "Parser") -> "Print | Do":
    items: list[Expression] = []
    name, silent = "", False
    while arguments.current is not None:
        items.append(arguments.expression())
        if arguments.match("as"):
            token = arguments.match("identifier")
            if token is None:
                raise arguments.error("Name (identifier) expected after 'as'.")
            name = token.value
            arguments.bind(name)
            silent = arguments.match_word("silent") is not None
            break
    arguments.finish("Malformed cycle-tag.")
    number = next(document.document.numbers)
    return Print(Invoke(start, advance, Scope(), number, Lazy(items), name, silent), raw=True)


def advance(
    render: "Render", scope: "dict[str, Any]", number: int, items: "tuple[Item, ...]", name: str, silent: bool
) -> str:
    value = turn(render, scope, number, items)
    # {% cycle name %} advances the named cycle. The items and the option `silent` of that cycle apply.
    if type(value) is CycleValue:
        number, items, silent = value.node
        value.value = turn(render, scope, number, items)
        return "" if silent else to_string(value.value)
    if name:
        scope[name] = CycleValue(value, (number, items, silent))
    return "" if silent else to_string(value)


def turn(render: "Render", scope: "dict[str, Any]", number: int, items: "tuple[Item, ...]") -> "Any":
    """Evaluate and return the next item of the tag with the number ``number``.

    ``render.state`` stores the position of each ``cycle`` tag.
    """
    if not items:
        raise Panic("runtime error: integer divide by zero")
    position = render.state.get(number, 0)
    render.state[number] = position + 1
    return items[position % len(items)](scope)
