"""``{% autoescape on|off %} … {% endautoescape %}``: switch the HTML-escaping of printed strings."""

from ..syntax.tree import Autoescape
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token


@tag("autoescape")
def autoescape(document: "Parser", start: "Token", arguments: "Parser") -> Autoescape:
    body, _, _ = document.body("endautoescape")  # pongo2 ignores arguments of the end tag
    mode = arguments.match("identifier")
    if mode is None:
        raise arguments.error("A mode is required for autoescape-tag.")
    if mode.value not in ("on", "off"):
        raise arguments.error("Only 'on' or 'off' is valid as an autoescape-mode.")
    arguments.finish("Malformed autoescape-tag arguments.")
    return Autoescape(mode.value == "on", body)
