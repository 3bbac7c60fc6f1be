"""``{% widthratio value max width [as name] %}``: print value / max * width, rounded as in pongo2."""

from ..operators import divide_floats
from ..render_state import weigh
from ..syntax.tree import Invoke, Print, Set
from ..values import MIN_INT, to_float
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..render_state import Render
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token


@tag("widthratio")
def widthratio(document: "Parser", start: "Token", arguments: "Parser") -> "Print | Set":
    value, maximum, width = arguments.expression(), arguments.expression(), arguments.expression()
    name = ""
    if arguments.match("as"):
        token = arguments.match("identifier")
        if token is None:
            raise arguments.error("Expected name (identifier).")
        name = token.value
        arguments.bind(name)
    arguments.finish("Malformed widthratio-tag arguments.")
    function = fixed_ratio if document.document.dialect.fixed else ratio
    result = Invoke(start, function, value, maximum, width)
    return Set(name, result) if name else Print(result, raw=True)


def fixed_ratio(render: "Render", value: "Any", maximum: "Any", width: "Any") -> "int | str":
    """Return the ratio like pongo2 6.1, or "" if the maximum is zero."""
    return ratio(render, value, maximum, width) if to_float(maximum) else ""


def ratio(render: "Render", value: "Any", maximum: "Any", width: "Any") -> int:
    """Return the ratio as pongo2 does: add 0.5, then round up. For example, the ratio 2 gives 3."""
    for operand in (value, maximum, width):
        weigh(render, operand, 1)
    exact = divide_floats(to_float(value), to_float(maximum)) * to_float(width) + 0.5
    if not -9223372036854775808.0 <= exact < 9223372036854775808.0:
        return MIN_INT
    down = int(exact // 1)
    return down if down == exact else down + 1
