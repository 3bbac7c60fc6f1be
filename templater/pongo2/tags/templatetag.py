"""``{% templatetag openblock %}``: print a delimiter of the language, such as ``{%``."""

from ..syntax.tree import Text
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token

DELIMITERS = {
    "openblock": "{%",
    "closeblock": "%}",
    "openvariable": "{{",
    "closevariable": "}}",
    "openbrace": "{",
    "closebrace": "}",
    "opencomment": "{#",
    "closecomment": "#}",
}


@tag("templatetag")
def templatetag(document: "Parser", start: "Token", arguments: "Parser") -> Text:
    name = arguments.match("identifier")
    if name is None:
        raise arguments.error("Identifier expected.")
    if name.value not in DELIMITERS:
        raise arguments.error("Argument not found", name)
    arguments.finish("Malformed templatetag-tag argument.")
    return Text(DELIMITERS[name.value], start.start)
