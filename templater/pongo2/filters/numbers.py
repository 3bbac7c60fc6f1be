"""Filters on numbers: add, divisibleby, float, integer, floatformat, get_digit."""

from ..golang.strconv import shortest
from ..operators import add_v4, concat, mod, wrap64
from ..values import Byte, grow, is_nil, is_number, special_float, to_bytes, to_float, to_int, to_string
from . import C, filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_EXACT_DECIMALS = 1100  # every float has fewer than 1100 decimals, so all further digits are zeros


@filter("add", weight=C)
def add(value: "Any", argument: "Any") -> "int | float | str":
    if is_number(value) and is_number(argument):
        return add_v4(value, argument)
    return concat(to_string(value), to_string(argument))


@filter("divisibleby", weight=C)
def divisibleby(value: "Any", argument: "Any") -> bool:
    return to_int(argument) != 0 and mod(value, argument) == 0


@filter("float", weight=C)
def float_(value: "Any", argument: "Any") -> float:
    return to_float(value)


@filter("integer", weight=C)
def integer(value: "Any", argument: "Any") -> int:
    return to_int(value)


@filter("floatformat", weight=C)
def floatformat(value: "Any", argument: "Any") -> "str | int":
    """Format a number.

    An integral number gets decimal places only if the argument is a positive number, not a string such as
    "3".
    """
    number = to_float(value)
    decimals = -1 if is_nil(argument) else to_int(argument)
    trim = not is_number(argument)
    if decimals <= 0:
        decimals = wrap64(-decimals)
        trim = True
    if trim and float(to_int(number)) == number:
        return to_int(value)
    return fixed(number, decimals)


def fixed(number: float, decimals: int) -> str:
    """Return the result of strconv.FormatFloat(number, 'f', decimals, 64) in Go.

    If ``decimals`` is negative, the result has as few digits as possible.
    """
    if number - number != 0.0:
        return special_float(number)
    if decimals < 0:
        return shortest(number)
    grow(decimals)
    text = f"{number:.{min(decimals, _EXACT_DECIMALS)}f}"
    return text + "0" * (decimals - _EXACT_DECIMALS)


@filter("get_digit", weight=C)
def get_digit(value: "Any", argument: "Any") -> "Any":
    """Return the n-th byte from the right, minus 48. As in pongo2, the byte need not be a digit."""
    data = to_bytes(to_string(value))
    n = to_int(argument)
    if n <= 0 or n > len(data):
        return value
    return Byte((data[-n] - 48) & 0xFF)
