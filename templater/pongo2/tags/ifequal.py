"""``{% ifequal a b %} … [{% else %} …] {% endifequal %}``: show a body if two values are equal."""

from ..syntax.tree import If, Operation
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token


def comparison(document: "Parser", arguments: "Parser", operator: str, end_name: str) -> If:
    operands = [arguments.expression(), arguments.expression()]
    arguments.finish("ifequal only takes 2 arguments.")
    body, end = document.plain_body("else", end_name)
    otherwise = document.plain_body(end_name)[0] if end == "else" else None
    return If([(Operation(operator, operands), body)], otherwise)


@tag("ifequal")
def ifequal(document: "Parser", start: "Token", arguments: "Parser") -> If:
    return comparison(document, arguments, "==", "endifequal")
