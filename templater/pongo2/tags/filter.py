"""``{% filter name:argument|… %} … {% endfilter %}``: apply filters to the output of a body."""

from ..syntax.tree import FilterBlock, FilterUse
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token


@tag("filter")
def filter_tag(document: "Parser", start: "Token", arguments: "Parser") -> FilterBlock:
    body, _, _ = document.body("endfilter")  # pongo2 ignores arguments of the end tag
    uses: list[FilterUse] = []
    while arguments.current is not None:
        name = arguments.match("identifier")
        if name is None:
            raise arguments.error("Expected a filter name (identifier).")
        uses.append(FilterUse(name, arguments.atom() if arguments.match(":") else None))
        if arguments.match("|") is None:
            break
    arguments.finish("Malformed filter-tag arguments.")
    return FilterBlock(start, uses, body)
