"""The decorator that marks a function as a filter. Each module contains the filters of one subject."""

from ...model.render_options import DIALECT_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Filter = Callable[..., Any]

#: the weights of filters that read no characters, run C code, run Python code, and run slow Python code
NONE, C, PYTHON, SLOW = 0, 1, 4, 8


def filter(
    *names: str,
    dialects: "tuple[str, ...]" = DIALECT_NAMES,
    render: bool = False,
    weight: int = PYTHON,
) -> "Callable[[Filter], Filter]":
    """Mark ``function(value, argument)`` as the filter with these names in these dialects.

    * ``argument``: None if the template gives no argument
    * ``render``: whether the function gets the `Render` object as first argument
    * ``weight``: the work for each character of a large value or argument
    """

    def mark(function: "Filter") -> "Filter":
        function.filter_names = names  # type: ignore[attr-defined]
        function.filter_dialects = dialects  # type: ignore[attr-defined]
        function.filter_render = render  # type: ignore[attr-defined]
        function.filter_weight = weight  # type: ignore[attr-defined]
        return function

    return mark
