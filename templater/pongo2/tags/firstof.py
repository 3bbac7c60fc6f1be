"""``{% firstof a b … %}``: print the first argument that is true, or nothing if all are false."""

from ..syntax.tree import Escaping, Invoke, Lazy, Print, Scope
from ..values import to_string, truthy
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..render_state import Render
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token
    from ..syntax.tree import Expression


@tag("firstof")
def firstof(document: "Parser", start: "Token", arguments: "Parser") -> Print:
    items: list[Expression] = []
    while arguments.current is not None:
        items.append(arguments.expression())
    safe = tuple(item.applied("safe") for item in items)
    return Print(Invoke(start, first, Scope(), Lazy(items), safe, Escaping()), raw=True)


def first(
    render: "Render",
    scope: "dict[str, Any]",
    items: "tuple[Callable[[dict[str, Any]], Any], ...]",
    safe: "tuple[bool, ...]",
    escaping: bool,
) -> str:
    """Return the text of the first true item, or "". Do not evaluate later items.

    As in pongo2, autoescape also escapes numbers and results of macros in this tag.
    """
    for item, is_safe in zip(items, safe, strict=True):
        value = item(scope)
        if truthy(value):
            text = to_string(value)
            return render.escape(text) if escaping and not is_safe else text
    return ""
