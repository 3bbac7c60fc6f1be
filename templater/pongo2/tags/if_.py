"""``{% if condition %} … [{% elif condition %} …] [{% else %} …] {% endif %}``: choose a body."""

from ..syntax.tree import If
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token


@tag("if")
def if_tag(document: "Parser", start: "Token", arguments: "Parser") -> If:
    """Parse the tag.

    As in pongo2, the n-th condition selects the n-th body: in ``if a … else … elif b …``, ``b`` selects the
    body after ``else``.
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
