"""Filters with a format: stringformat (Go's fmt), date and time (Go's layouts)."""

from ..values import Failure, sized, to_string
from . import filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@filter("stringformat")
def stringformat(value: "Any", argument: "Any") -> str:
    from ..gofmt import sprintf

    return sized(sprintf(to_string(argument), value))


@filter("date", "time")
def date(value: "Any", argument: "Any") -> str:
    from ..gotime import Time, format_time

    if not isinstance(value, Time):
        raise Failure("filter input argument must be of type 'time.Time'", sender="filter:date")
    return sized(format_time(value, to_string(argument)))
