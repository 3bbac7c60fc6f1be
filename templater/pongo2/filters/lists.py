"""Filters on lists, and on strings as lists of runes."""

from ..golang.strings import split_text
from ..render_state import ELEMENT
from ..values import Failure, GoList, Panic, gotype, grow, length, recombine, to_int, to_runes, to_string
from . import NONE, C, filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _elements(value: "Any") -> "Any":
    """Return a list unchanged, a string as Go's runes, and None for any other value."""
    if isinstance(value, str):
        return to_runes(value)
    return value if isinstance(value, list) else None


@filter("first")
def first(value: "Any", argument: "Any") -> "Any":
    elements = _elements(value)
    return elements[0] if elements else ""


@filter("last")
def last(value: "Any", argument: "Any") -> "Any":
    elements = _elements(value)
    return elements[-1] if elements else ""


@filter("random", render=True)
def random(render: "Any", value: "Any", argument: "Any") -> "Any":
    elements = _elements(value)
    return elements[int(render.random() * len(elements))] if elements else value


@filter("join")
def join(value: "Any", argument: "Any") -> "Any":
    elements = _elements(value)
    if elements is None:
        return value
    separator = to_string(argument)
    grow(len(separator) * len(elements))
    texts = list(map(to_string, elements))
    grow(sum(map(len, texts)))
    return recombine(separator.join(texts))


@filter("length", weight=NONE)
def length_(value: "Any", argument: "Any") -> int:
    return length(value)


@filter("length_is", weight=NONE)
def length_is(value: "Any", argument: "Any") -> bool:
    return length(value) == to_int(argument)


@filter("make_list")
def make_list(value: "Any", argument: "Any") -> GoList:
    text = to_runes(to_string(value))
    grow(ELEMENT * len(text))
    return GoList(text)


@filter("split", weight=C)
def split(value: "Any", argument: "Any") -> GoList:
    text, separator = to_string(value), to_string(argument)
    grow(ELEMENT * text.count(separator))
    return GoList(split_text(text, separator))


@filter("slice", dialects=("v4",))
def slice_v4(value: "Any", argument: "Any") -> "Any":
    """Slice a value like pongo2 v4.

    If the upper bound is missing, negative, too large or below the lower bound, the slice extends to the end
    of the value.
    """
    start_text, end_text = _bounds(argument)
    size = length(value)
    if not isinstance(value, list | str):
        return value
    start, end = min(to_int(start_text), size), to_int(end_text)
    if not start <= end <= size:
        end = size
    if start < 0:
        raise Panic(_out_of_bounds(value, start))
    return _sliced(value, start, end)


def _out_of_bounds(value: "Any", start: int) -> str:
    if isinstance(value, list):
        return "reflect.Value.Slice: slice index out of bounds"
    return f"runtime error: slice bounds out of range [{start}:]"


@filter("slice", dialects=("v6", "v6.1"))
def slice_v6(value: "Any", argument: "Any") -> "Any":
    """Slice a value like pongo2 v6: negative bounds count from the end."""
    start_text, end_text = _bounds(argument)
    size = length(value)
    if not isinstance(value, list | str):
        return value
    start = min(_from_end(to_int(start_text), size), size)
    end = min(_from_end(to_int(end_text), size), size) if end_text.strip() else size
    return _sliced(value, start, max(start, end))


def _from_end(i: int, size: int) -> int:
    return max(i + size, 0) if i < 0 else i


def _bounds(argument: "Any") -> "list[str]":
    bounds = to_string(argument).split(":")
    if len(bounds) != 2:
        raise Failure(
            "Slice string must have the format 'from:to' [from/to can be omitted, but the ':' is required]"
        )
    return bounds


def _sliced(value: "Any", start: int, end: int) -> "Any":
    if isinstance(value, str):
        return to_runes(value)[start:end]
    grow(ELEMENT * (end - start))
    return GoList(value[start:end], gotype(value), getattr(value, "methods", None))
