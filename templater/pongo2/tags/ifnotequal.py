"""``{% ifnotequal a b %} … [{% else %} …] {% endifnotequal %}``."""

from ..tree import If
from . import tag
from .ifequal import comparison

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..parser import Parser
    from ..tokens import Token


@tag("ifnotequal")
def ifnotequal(document: "Parser", start: "Token", arguments: "Parser") -> If:
    return comparison(document, arguments, "!=", "endifnotequal")
