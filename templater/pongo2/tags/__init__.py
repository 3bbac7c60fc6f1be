"""The decorator that marks a function as the parser of a tag. Each tag has a module in this package."""

from ...model.render_options import DIALECT_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Tag = Callable[[Any, Any, Any], Any]


def tag(name: str, dialects: "tuple[str, ...]" = DIALECT_NAMES) -> "Callable[[Tag], Tag]":
    """Mark ``function(document, start, arguments)`` as the parser of this tag.

    The function returns a Statement or a list of Statements.

    * ``document``: a Parser at the position after the tag, for the tag's body
    * ``start``: the token with the tag's name
    * ``arguments``: a Parser for the tokens between the name and ``%}``
    """

    def mark(function: "Tag") -> "Tag":
        function.tag_names = (name,)  # type: ignore[attr-defined]
        function.tag_dialects = dialects  # type: ignore[attr-defined]
        return function

    return mark
