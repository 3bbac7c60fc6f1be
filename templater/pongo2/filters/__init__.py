"""The decorator that marks a function as a filter. Each module contains the filters of one subject."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Filter = Callable[..., Any]

ALL_DIALECTS = ("v4", "v6", "v6.1")

#: weights of filters: those that read no characters, C code, Python code, and slow Python code
NONE, C, PYTHON, SLOW = 0, 1, 4, 8


def filter(
    *names: str,
    dialects: "tuple[str, ...]" = ALL_DIALECTS,
    render: bool = False,
    weight: int = PYTHON,
) -> "Callable[[Filter], Filter]":
    """Mark ``function(value, argument)`` as the filter of these names in these dialects.

    The argument is None where a template gives none. With ``render`` the function gets the render first,
    for its clock, its random numbers, or to count work. ``weight`` is the work for each character of a large
    value or argument, which is counted before the filter runs. The library finds marked functions by
    these attributes.
    """

    def mark(function: "Filter") -> "Filter":
        function.filter_names = names  # type: ignore[attr-defined]
        function.filter_dialects = dialects  # type: ignore[attr-defined]
        function.filter_render = render  # type: ignore[attr-defined]
        function.filter_weight = weight  # type: ignore[attr-defined]
        return function

    return mark
