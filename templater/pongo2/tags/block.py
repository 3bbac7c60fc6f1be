"""``{% block name %} … {% endblock %}``: a part of a template that an extending template can replace."""

from ..syntax.tree import Block
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token


@tag("block")
def block(document: "Parser", start: "Token", arguments: "Parser") -> Block:
    if not arguments.tokens:
        raise arguments.error("Tag 'block' requires an identifier.")
    name = arguments.match("identifier")
    if name is None:
        raise arguments.error("First argument for tag 'block' must be an identifier.")
    arguments.finish("Tag 'block' takes exactly 1 argument (an identifier).")
    body, _, end = document.body("endblock")
    if end.tokens:
        check_end(end, name.value)
    blocks = document.document.blocks
    if name.value in blocks:
        raise arguments.error(f"Block named '{name.value}' already defined")
    blocks[name.value] = body
    arguments.bind("block")
    return Block(start, name.value)


def check_end(end: "Parser", name: str) -> None:
    """Raise TemplateSyntaxError if the argument of ``endblock`` is not the name of its block."""
    token = end.match("identifier")
    if token is not None and token.value != name:
        raise end.error(
            f"Name for 'endblock' must equal to 'block'-tag's name ('{name}' != '{token.value}')."
        )
    if token is None or end.current is not None:
        raise end.error("Either no or only one argument (identifier) allowed for 'endblock'.")
