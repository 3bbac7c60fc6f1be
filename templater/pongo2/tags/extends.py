"""``{% extends "file" %}``: render another template, but with the blocks that this template defines."""

from ..syntax.tree import Text
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token


@tag("extends")
def extends(document: "Parser", start: "Token", arguments: "Parser") -> Text:
    child = document.document
    if child.level > 1:
        raise arguments.error("The 'extends' tag can only defined on root level.", start)
    if child.parent is not None:
        raise arguments.error("This template has already one parent.", start)
    name = arguments.match("string")
    if name is None:
        raise arguments.error("Tag 'extends' requires a template filename as string.")
    child.parent = document.open(name.value, name)
    child.parent.child = child
    arguments.finish("Tag 'extends' does only take 1 argument.")
    return Text("", start.start)
