"""The filter stringformat, which formats a value by a format string of Go's fmt package."""

from ..golang.fmt import sprintf
from ..render_state import work
from ..values import sized, to_string
from . import SLOW, filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..render_state import Render


@filter("stringformat", render=True, weight=SLOW)
def stringformat(render: "Render", value: "Any", argument: "Any") -> str:
    return sized(sprintf(to_string(argument), value, lambda amount: work(render, amount)))
