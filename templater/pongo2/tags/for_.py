"""``{% for name in expression %}``: repeat a body for each item.

``{% for key[, value] in expression [reversed] [sorted] %} … [{% empty %} …] {% endfor %}`` is the whole
syntax.
"""

from ..syntax.tree import For
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token


@tag("for")
def for_tag(document: "Parser", start: "Token", arguments: "Parser") -> For:
    key = arguments.match("identifier")
    if key is None:
        raise arguments.error("Expected an key identifier as first argument for 'for'-tag")
    value = None
    if arguments.match(","):
        value = arguments.match("identifier")
        if value is None:
            raise arguments.error("Value name must be an identifier.")
    if arguments.match("in") is None:
        raise arguments.error("Expected keyword 'in'.")
    expression = arguments.expression()
    backwards = arguments.match_word("reversed") is not None
    ordered = arguments.match_word("sorted") is not None
    arguments.finish("Malformed for-loop arguments.")
    body, end = document.plain_body("empty", "endfor")
    empty = document.plain_body("endfor")[0] if end == "empty" else None
    arguments.bind(key.value)
    if value is not None:
        arguments.bind(value.value)
    return For(
        key.value, value.value if value is not None else None, expression, backwards, ordered, body, empty
    )
