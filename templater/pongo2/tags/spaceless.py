"""``{% spaceless %} … {% endspaceless %}``: remove white space between HTML tags."""

import re

from ..render_state import weigh
from ..syntax.tree import Capture, Invoke
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..render_state import Render
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token


@tag("spaceless")
def spaceless(document: "Parser", start: "Token", arguments: "Parser") -> Capture:
    body, _, _ = document.body("endspaceless")  # pongo2 ignores arguments of the end tag
    arguments.finish("Malformed spaceless-tag arguments.")
    return Capture(Invoke(start, collapse), body)


def collapse(render: "Render", text: str) -> str:
    """Remove white space between HTML tags, in several passes until nothing changes."""
    weigh(render, text, 8)
    before = None
    # One pass is not enough: one match has two tags, and two matches cannot share a tag.
    while before != text:
        before, text = text, collapse_once(text)
    return text


def collapse_once(text: str) -> str:
    """Make one pass: replace each match of ``(<.*?>)\\s+(<.*?>)`` by its groups, in linear time."""
    kept: list[str] = []
    done = free = 0  # ``done`` is the end of the copied text; a match may begin at ``free`` or later
    for gap in re.finditer(r">[\t\n\v\f\r ]+<", text):
        close, open_ = gap.start(), gap.end() - 1
        line = text.rfind("\n", free, close) + 1
        end = text.find(">", open_)
        newline = text.find("\n", open_, end if end >= 0 else len(text))
        if text.find("<", max(line, free), close) < 0 or end < 0 or newline >= 0:
            continue
        kept.append(text[done : close + 1])
        done, free = open_, end + 1
    kept.append(text[done:])
    return "".join(kept)
