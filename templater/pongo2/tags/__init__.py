"""The decorator that marks a function as the parser of a tag. Each tag has its own module."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Tag = Callable[[Any, Any, Any], Any]

ALL_DIALECTS = ("v4", "v6", "v6.1")


def tag(name: str, dialects: "tuple[str, ...]" = ALL_DIALECTS) -> "Callable[[Tag], Tag]":
    """Mark ``function(document, start, arguments)`` as the parser of this tag.

    It takes a Parser, a Token and a Parser, and returns a Statement or a list of them. ``document`` is
    positioned after the tag and parses bodies, ``start`` is the tag's name, and ``arguments`` parses the
    tokens between the name and ``%}``.
    """

    def mark(function: "Tag") -> "Tag":
        function.tag_names = (name,)  # type: ignore[attr-defined]
        function.tag_dialects = dialects  # type: ignore[attr-defined]
        return function

    return mark
