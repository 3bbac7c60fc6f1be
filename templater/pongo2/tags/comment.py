"""``{% comment %} … {% endcomment %}``: print nothing.

The text between the tags must consist of valid tokens, but it may contain unknown tags and other mistakes.
"""

from ..syntax.tree import Text
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token


@tag("comment")
def comment(document: "Parser", start: "Token", arguments: "Parser") -> Text:
    skip(document)
    if arguments.tokens:
        raise arguments.error("Tag 'comment' does not take any argument.")
    return Text("", start.start)


def skip(document: "Parser") -> None:
    """Skip to the end of ``{% endcomment %}``.

    Raises TemplateSyntaxError if ``endcomment`` is missing. If ``endcomment`` has arguments, pongo2 hangs;
    this function raises TemplateSyntaxError instead.
    """
    while document.current is not None:
        name = document.at_tag(("endcomment",))
        document.advance()
        if name is not None:
            document.advance()
            if document.match("%}") is None:
                raise document.error_at(
                    "Arguments not allowed here.", name, "pongo2 would hang here for ever"
                )
            return
    raise document.error_at("Unexpected EOF, expected tag endcomment.", document.last)
