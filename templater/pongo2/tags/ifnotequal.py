"""``{% ifnotequal a b %} … [{% else %} …] {% endifnotequal %}``: show a body if two values differ."""

from ..syntax.tree import If
from . import tag
from .ifequal import comparison

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token


@tag("ifnotequal")
def ifnotequal(document: "Parser", start: "Token", arguments: "Parser") -> If:
    return comparison(document, arguments, "!=", "endifnotequal")
