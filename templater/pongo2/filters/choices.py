"""Filters that choose between values: default, default_if_none, yesno, pluralize."""

from ..values import Failure, is_nil, is_number, length, to_int, to_string, truthy
from . import NONE, C, filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@filter("default", weight=NONE)
def default(value: "Any", argument: "Any") -> "Any":
    return value or argument  # Python and pongo2 treat the same values as true: see `truthy`.


@filter("default_if_none", weight=NONE)
def default_if_none(value: "Any", argument: "Any") -> "Any":
    return argument if is_nil(value) else value


@filter("yesno", weight=C)
def yesno(value: "Any", argument: "Any") -> str:
    yes, no, maybe = _answers(to_string(argument))
    if is_nil(value):
        return maybe
    return yes if truthy(value) else no


def _answers(text: str) -> "tuple[str, str, str]":
    if not text:
        return "yes", "no", "maybe"
    answers = text.split(",")
    if len(answers) > 3:
        message = f"ou cannot pass more than 3 options to the 'yesno'-filter (got: '{text}')"
        raise Failure("y" + message, f"Y{message}.")
    if len(answers) < 2:
        message = f"ou must either pass no or at least 2 arguments to the 'yesno'-filter (got: '{text}')"
        v4 = f"You must pass either no or at least 2 arguments to the 'yesno'-filter (got: '{text}')."
        raise Failure("y" + message, v4)
    return answers[0], answers[1], answers[2] if len(answers) == 3 else "maybe"


@filter("pluralize", weight=C)
def pluralize(value: "Any", argument: "Any") -> str:
    """Return the singular ending if the integral part of the value is 1. As in pongo2, 1.5 is singular."""
    if not is_number(value):
        raise Failure("filter 'pluralize' does only work on numbers")
    endings = to_string(argument).split(",") if length(argument) else ["s"]
    if len(endings) > 2:
        raise Failure("you cannot pass more than 2 arguments to filter 'pluralize'")
    singular, plural = endings if len(endings) == 2 else ("", endings[0])
    return singular if to_int(value) == 1 else plural
