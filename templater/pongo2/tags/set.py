"""``{% set name = expression %}``: bind a name to a value."""

from ..syntax.tree import Set
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token


@tag("set")
def set_tag(document: "Parser", start: "Token", arguments: "Parser") -> Set:
    name = arguments.match("identifier")
    if name is None:
        raise arguments.error("Expected an identifier.")
    if arguments.match("=") is None:
        raise arguments.error("Expected '='.")
    expression = arguments.expression()
    arguments.finish("Malformed 'set'-tag arguments.")
    arguments.bind(name.value)
    return Set(name.value, expression)
