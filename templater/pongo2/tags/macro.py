"""``{% macro name(a, b=default) [export] %} … {% endmacro %}``: define a function that returns a text."""

from ..syntax.tree import Macro
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token
    from ..syntax.tree import Expression


@tag("macro")
def macro(document: "Parser", start: "Token", arguments: "Parser") -> Macro:
    name = arguments.match("identifier")
    if name is None:
        raise arguments.error("Macro-tag needs at least an identifier as name.")
    if arguments.match("(") is None:
        raise arguments.error("Expected '('.")
    parameters = read_parameters(arguments)
    exported = arguments.match("export") is not None
    arguments.finish("Malformed macro-tag.")
    body, _ = document.plain_body("endmacro")
    made = Macro(start, name.value, parameters, body)
    if exported:
        if name.value in document.document.exported:
            raise document.error(f"another macro with name '{name.value}' already exported", start)
        document.document.exported[name.value] = made
    arguments.bind(name.value, *(parameter for parameter, _ in parameters))
    return made


def read_parameters(arguments: "Parser") -> "list[tuple[str, Expression | None]]":
    parameters: list[tuple[str, Expression | None]] = []
    while arguments.match(")") is None:
        name = arguments.match("identifier")
        if name is None:
            raise arguments.error("Expected argument name as identifier.")
        default = arguments.expression() if arguments.match("=") else None
        parameters.append((name.value, default))
        if arguments.match(")"):
            break
        if arguments.match(",") is None:
            raise arguments.error("Expected ',' or ')'.")
    return parameters
