"""The filters ``date`` and ``time``, which format a time with a layout of Go."""

from ..golang.time import Time, format_time
from ..values import Failure, sized, to_string
from . import filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@filter("date", "time")
def date(value: "Any", argument: "Any") -> str:
    if not isinstance(value, Time):
        raise Failure("filter input argument must be of type 'time.Time'", sender="filter:date")
    return sized(format_time(value, to_string(argument)))
