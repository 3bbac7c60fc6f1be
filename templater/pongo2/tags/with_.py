"""``{% with a=1 b=x %} … {% endwith %}``: bind names in a body.

The older syntax is ``{% with 1 as a x as b %}``.
"""

from ..syntax.tree import With
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token
    from ..syntax.tree import Expression


@tag("with")
def with_tag(document: "Parser", start: "Token", arguments: "Parser") -> With:
    if not arguments.tokens:
        raise arguments.error("Tag 'with' requires at least one argument.")
    body, _ = document.plain_body("endwith")
    old_style = any(token.kind == "as" for token in arguments.tokens)
    pairs: dict[str, Expression] = {}
    while arguments.current is not None:
        name, value = old_pair(arguments) if old_style else arguments.pair()
        pairs[name] = value
    arguments.bind(*pairs)
    return With(list(pairs.items()), body)


def old_pair(arguments: "Parser") -> "tuple[str, Expression]":
    value = arguments.expression()
    if arguments.match("as") is None:
        raise arguments.error("Expected 'as' keyword.")
    name = arguments.match("identifier")
    if name is None:
        raise arguments.error("Expected an identifier")
    return name.value, value
