"""``{% ssi "file" [parsed] %}``: print the text of another file, or render it as a template (``parsed``)."""

from ..syntax.tree import Invoke, Other, Print, Scope, Text
from . import tag
from .include import render_other

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token


@tag("ssi")
def ssi(document: "Parser", start: "Token", arguments: "Parser") -> "Print | Text":
    name = arguments.match("string")
    if name is None:
        raise arguments.error("First argument must be a string.")
    found: Print | Text
    if arguments.match_word("parsed"):
        other = Other(document.open(name.value, name))
        found = Print(Invoke(start, render_other, Scope(), other, False, False, ()), raw=True)
    else:
        found = Text(document.read_text(name.value, name), start.start)
    arguments.finish("Malformed SSI-tag argument.")
    return found
