"""The filter stringformat, which formats a value by a format string of Go's fmt package."""

from ..golang.fmt import sprintf
from ..values import sized, to_string
from . import SLOW, filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@filter("stringformat", weight=SLOW)
def stringformat(value: "Any", argument: "Any") -> str:
    return sized(sprintf(to_string(argument), value))
