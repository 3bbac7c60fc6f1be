"""Upper bounds of the cost of filters in pongo2: the length of a result, and the work for each character.

The numbers for the work are about twice the work that ``python -m tests.bench filters`` measures with pongo2
4.0.2 and hostile texts.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ..pongo2.syntax import tree
from ..pongo2.syntax.tokens import Token
from ..pongo2.values import to_string
from .counted_filters import STEPS_OF_TAG

#: the work of one step of ``SQUARED``, in units of the work to copy a character
STEP = 500
#: the lengths of the longest number as a text, and of the text that pongo2 prints for a list
NUMBER, LIST = 320, 20
#: how many times longer a text can become when pongo2 escapes it
ESCAPED = 6

#: Filters that read a text once, each with two numbers. The result is at most as long as the value times the
#: first number, plus the argument. The second number is the work for each character of the value.
FILTERS = {
    **dict.fromkeys(("add", "default", "default_if_none", "pluralize", "safe", "yesno"), (1, 8)),
    **dict.fromkeys(("cut", "get_digit", "lower", "phone2numeric", "random", "upper"), (1, 16)),
    **dict.fromkeys(("divisibleby", "float", "integer", "length", "length_is", "wordcount"), (1, 16)),
    **dict.fromkeys(("capfirst", "first", "last", "make_list", "split", "striptags", "title"), (1, 40)),
    **dict.fromkeys(("e", "escape", "linebreaksbr"), (ESCAPED, 30)),
    "addslashes": (2, 30),
    "escapejs": (6, 100),
    "iriencode": (12, 40),
    "linebreaks": (8, 40),
    "linenumbers": (10, 70),
    "urlencode": (12, 30),
    "urlize": (12, 300),
}
#: filters whose result is a number, or true or false
COUNTING = ("divisibleby", "float", "integer", "length", "length_is", "wordcount")
#: filters whose result can be a few characters longer than the value and the argument
_ADDING = ("get_digit", "linebreaks", "linenumbers", "make_list", "pluralize", "split", "yesno")
#: Filters that decode a text. In pongo2 4, a loop over a text yields single bytes. If such a byte is only a
#: part of a character, these filters replace it by three bytes.
DECODING = (
    "first",
    "join",
    "last",
    "make_list",
    "random",
    "slice",
    "split",
    "truncatechars",
    "truncatewords",
    "wordwrap",
)
#: filters that also change letters; a letter of two bytes can have a capital of three bytes
CHANGING = ("capfirst", "lower", "title", "upper")
#: filters whose result can be a list
LISTING = ("make_list", "split")
#: Filters whose cost is simple without an argument, or with some constant arguments. Each filter has a
#: pattern of these arguments, two numbers as in ``FILTERS``, and the number of characters that the filter
#: adds.
_WITH_CONSTANT = {
    **dict.fromkeys(("date", "time"), ("[^%]{0,300}", 1, 16, 1000)),
    **dict.fromkeys(("truncatechars", "truncatewords", "wordwrap"), ("[0-9]{1,9}", 1, 20, LIST)),
    **dict.fromkeys(("truncatechars_html", "truncatewords_html"), ("[0-9]{1,9}", 3, 200, LIST)),
    "floatformat": ("-?[0-9]{0,2}", 1, 16, NUMBER + 100),
    "removetags": ("[a-zA-Z0-9, ]*", 1, 60, 0),
    "slice": ("[0-9]{0,9}:[0-9]{0,9}", 1, 16, 0),
    "urlizetrunc": ("[0-9]{1,9}", 12, 300, LIST),
}
#: the work for a filter itself, even if its text is empty
USE, USE_OF_SLOW = 150, 1000
#: filters whose constant argument is the maximum number of characters that they add
_WIDENING = ("center", "ljust", "rjust")
#: the simple layouts of ``stringformat``: one directive with a short width
_LAYOUT = re.compile(r"[^%]*(?:%[-0 ]?[0-9]?(?:\.[0-9])?[dfqsvxX][^%]*)?", re.DOTALL)
#: _DIRECTIVE is how many times longer a directive can make a value or an element of a list. MISFIT is how
#: many characters pongo2 adds if the value does not fit the directive.
_DIRECTIVE, MISFIT = 24, 40


class NoBoundError(Exception):
    """Raised for a template whose cost has no simple bound.

    ``reason`` is a sentence about the part of the template at ``token``.
    """

    def __init__(self, reason: str, token: Token) -> None:
        self.reason = reason
        self.token = token


class FilterCost(NamedTuple):
    """The cost of a filter.

    * maximum length of the result: ``factor`` times the length of the value, plus ``added``
    * ``weight``: the work for each character of the value
    """

    factor: int
    weight: int
    added: int


def plain(expression: Any) -> Any:
    return expression.atom if isinstance(expression, tree.Filtered) and not expression.filters else expression


def cost_of_filter(use: tree.FilterUse) -> FilterCost:
    """Return the cost of a filter. Raises NoBoundError if the filter's argument is computed or unusual."""
    name = use.name
    if name in FILTERS:
        factor, weight = FILTERS[name]
        return FilterCost(factor, weight, NUMBER if name in COUNTING else LIST if name in _ADDING else 0)
    argument = plain(use.argument)
    if argument is None or isinstance(argument, tree.Literal):
        constant = "" if argument is None else to_string(argument.value)
        if name == "join":
            return FilterCost(1 + bytes_of(constant), 110, 0)
        if name == "stringformat" and argument is not None and _LAYOUT.fullmatch(constant):
            return FilterCost(_DIRECTIVE, 100, bytes_of(constant) + MISFIT)
        if name in _WIDENING and re.fullmatch("[0-9]{0,9}", constant):
            return FilterCost(1, 20, int(constant or 0))
        pattern, factor, weight, added = _WITH_CONSTANT.get(name, ("(?!)", 0, 0, 0))
        if re.fullmatch(pattern, constant):
            if name == "removetags":
                tags = constant.count(",") + 1
                return FilterCost(1, weight * tags, tags * STEPS_OF_TAG * STEP)
            return FilterCost(factor, weight, added)
    raise NoBoundError(f"the filter '{name}' has an unusual argument", use.token)


def bytes_of(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
