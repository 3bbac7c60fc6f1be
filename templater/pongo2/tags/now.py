"""``{% now "layout" [fake] %}``: print the time in a layout of Go, such as "2006-01-02"."""

from ..golang.time import FAKE, Time, format_time
from ..render_state import weigh
from ..syntax.tree import Invoke, Print
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..render_state import Render
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token


@tag("now")
def now(document: "Parser", start: "Token", arguments: "Parser") -> Print:
    layout = arguments.match("string")
    if layout is None:
        raise arguments.error("Expected a format string.")
    fake = arguments.match_word("fake") is not None
    arguments.finish("Malformed now-tag arguments.")
    return Print(Invoke(start, show, layout.value, fake), raw=True)


def show(render: "Render", layout: str, fake: bool) -> str:
    weigh(render, layout, 8)
    if fake:
        return format_time(FAKE, layout)
    seconds = int(render.clock // 1)
    return format_time(Time(seconds, int((render.clock - seconds) * 1e9)), layout)
