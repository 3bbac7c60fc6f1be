"""``{% if condition %} … [{% elif condition %} …] [{% else %} …] {% endif %}``."""

from ..syntax.tree import If
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token


@tag("if")
def if_tag(document: "Parser", start: "Token", arguments: "Parser") -> If:
    """Count bodies and conditions separately, as pongo2 does.

    After a misplaced ``else``, the condition and the body of one number do not belong together. The body
    after the last condition is the final ``else``.
    """
    conditions = [arguments.expression()]
    arguments.finish("If-condition is malformed.")
    bodies = []
    end = ""
    while end != "endif":
        body, end, after = document.body("elif", "else", "endif")
        bodies.append(body)
        if end == "elif":
            conditions.append(after.expression())
            after.finish("Elif-condition is malformed.")
        elif after.tokens:
            raise after.error("Arguments not allowed here.")
    rest = bodies[len(conditions) :]
    return If(list(zip(conditions, bodies, strict=False)), rest[0] if rest else None)
