"""``{% import "file" name [as other], … %}``: define macros that another template exports."""

from ..syntax.tree import Macro
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token
    from ..syntax.tree import Document, Statement


@tag("import")
def import_tag(document: "Parser", start: "Token", arguments: "Parser") -> "list[Statement]":
    name = arguments.match("string")
    if name is None:
        raise arguments.error("Import-tag needs a filename as string.")
    if arguments.current is None:
        raise arguments.error("You must at least specify one macro to import.")
    source = document.open(name.value, start)
    macros: list[Statement] = []
    while True:
        macros.append(one_macro(arguments, source))
        if arguments.current is None:
            return macros
        if arguments.match(",") is None:
            raise arguments.error("Expected ','.")
        if arguments.current is None:
            return macros


def one_macro(arguments: "Parser", source: "Document") -> Macro:
    token = arguments.match("identifier")
    if token is None:
        raise arguments.error("Expected macro name (identifier).")
    bound = token.value
    if arguments.match("as"):
        alias = arguments.match("identifier")
        if alias is None:
            raise arguments.error("Expected macro alias name (identifier).")
        bound = alias.value
    macro = source.exported.get(token.value)
    if macro is None:
        raise arguments.error(
            f"Macro '{token.value}' not found (or not exported) in '{source.unit.name}'.", token
        )
    arguments.bind(bound)
    copy = Macro(macro.token, macro.name, macro.parameters, macro.body)
    copy.bound = bound
    return copy
