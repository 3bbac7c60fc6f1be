"""``{% ifnotequal a b %} … [{% else %} …] {% endifnotequal %}``."""

from ..library import tag
from ..tree import If
from .ifequal import comparison

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..parser import Parser
    from ..tokens import Token


@tag("ifnotequal")
def ifnotequal(document: "Parser", start: "Token", arguments: "Parser") -> If:
    return comparison(document, arguments, "!=", "endifnotequal")
