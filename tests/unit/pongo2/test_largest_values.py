"""Every operation that makes a value refuses one that is too large, before it makes the value."""

import random
from types import SimpleNamespace

import pytest

from templater.pongo2 import operators, render_state, runtime_calls_and_loops, values
from templater.pongo2.filters import escaping, formats, html, links, lists, numbers, text, urls
from templater.pongo2.golang.fmt import sprintf
from templater.pongo2.golang.time import FAKE, format_time
from templater.pongo2.tags import lorem
from templater.pongo2.values import Struct

MOST = 120
ELEMENT = render_state.ELEMENT
RENDER = SimpleNamespace(left=10**6, random=random.Random(1).random)

#: the operation by a number, the largest allowed number, and the size of the value with the next number
CASES = {
    "padding": (lambda n: sprintf(f"%{n}d", 1), 120, 121),
    "zeros": (lambda n: sprintf(f"%0{n}d", 1), 120, 121),
    "digits": (lambda n: sprintf(f"%.{n}d", 1), 120, 121),
    "hexadecimal digits": (lambda n: sprintf(f"%.{n}x", 1), 120, 121),
    "zeros of a float": (lambda n: sprintf(f"%0{n}.1f", 1.5), 120, 121),
    "decimals": (lambda n: sprintf(f"%.{n}f", 1.5), 118, 121),
    "decimals of a power": (lambda n: sprintf(f"%.{n}e", 1.5), 114, 121),
    "a list": (lambda n: sprintf("%v", ["x" * (n - 1), "x"]), 117, 121),
    "a map": (lambda n: sprintf("%v", {"k": "x" * (n - 4), "a": ""}), 114, 121),
    "many directives": (lambda n: sprintf("%s%[1]s%[1]s", "x" * n), 40, 123),
    "quotes": (lambda n: sprintf("%q", "x" * n), 30, 124),
    "a layout": (lambda n: format_time(FAKE, "x" * n), 30, 124),
    "addition": (lambda n: operators.add_v6("x" * n, "y"), 119, 121),
    "join": (lambda n: lists.join(["x"] * 60 + ["y" * n], ""), 60, 121),
    "separators": (lambda n: lists.join(["x"] * 10, "y" * n), 12, 130),
    "make_list": (lambda n: lists.make_list("x" * n, None), MOST // ELEMENT, (MOST // ELEMENT + 1) * ELEMENT),
    "split": (lambda n: lists.split("," * n, ","), MOST // ELEMENT, (MOST // ELEMENT + 1) * ELEMENT),
    "slice": (lambda n: lists._sliced([1] * 99, 2, n), MOST // ELEMENT + 2, (MOST // ELEMENT + 1) * ELEMENT),
    "escapejs": (lambda n: escaping.escapejs("<" * n, None), 20, 126),
    "addslashes": (lambda n: escaping.addslashes('"' * n, None), 60, 122),
    "upper": (lambda n: text.upper("é" * n, None), 120, 121),
    "lower": (lambda n: text.lower("É" * n, None), 120, 121),
    "title": (lambda n: text.title("x" * n, None), 120, 121),
    "capfirst": (lambda n: text.capfirst("x" * n, None), 120, 121),
    "center": (lambda n: text.center("x", n), 121, 121),
    "ljust": (lambda n: text.ljust("x", n), 121, 121),
    "ljust of a long text": (lambda n: text.ljust("x" * n, 1), 120, 121),
    "rjust": (lambda n: text.rjust("x", n), 120, 121),
    "rjust to the left": (lambda n: text.rjust("x", -n), 120, 121),
    "rjust of a long text": (lambda n: text.rjust("x" * n, 1), 120, 121),
    "cut": (lambda n: text.cut("x" * n, "y"), 120, 121),
    "truncatechars": (lambda n: text.truncatechars("x" * 200, n), 120, 121),
    "truncatewords": (lambda n: text.truncatewords("x" * n + " y z", 2), 114, 121),
    "wordwrap": (lambda n: text.wordwrap("x" * n, 3), 120, 121),
    "linebreaksbr": (lambda n: text.linebreaksbr("\n" * n, None), 20, 126),
    "linenumbers": (lambda n: text.linenumbers("x" * n, None), 117, 121),
    "phone2numeric": (lambda n: text.phone2numeric("x" * n, None), 120, 121),
    "floatformat": (lambda n: numbers.fixed(1.5, n), 120, 121),
    "urlize": (lambda n: links.urlize("x" * n, None), 40, 123),
    "stringformat": (lambda n: formats.stringformat(RENDER, "x" * n, "%s"), 120, 121),
    "urlencode": (lambda n: urls.urlencode("/" * n, None), 40, 123),
    "iriencode": (lambda n: urls.iriencode("é" * n, None), 20, 126),
    "striptags": (lambda n: html.striptags("x" * n, None), 120, 121),
    "captured": (lambda n: runtime_calls_and_loops.captured(RENDER, ["x" * (n - 1), "x"]), 120, 121),
    "random words": (lambda n: lorem.filler(RENDER, n, "w", True), 8, 126),
}


@pytest.mark.parametrize("name", CASES)
def test_a_value_above_the_largest_size_is_refused(monkeypatch, name):
    make, most, size = CASES[name]
    monkeypatch.setattr(values, "MAX", MOST)
    make(most)
    with pytest.raises(values.TooLarge) as refused:
        make(most + 1)
    assert str(refused.value) == f"a value of {size} characters"


@pytest.mark.parametrize(
    "value",
    [["x"] * 9, [["x"], ["y", "z"]] * 9, {"a": "x", "b": "y"}, Struct("T", dict.fromkeys("abc", "x"))],
)
def test_a_long_list_of_padded_items_is_refused_early(monkeypatch, value):
    """A list of 1,000 items with a width of 999,999 needed a gigabyte before it was refused."""
    monkeypatch.setattr(values, "MAX", MOST)
    with pytest.raises(values.TooLarge, match="a value of 122 characters"):
        sprintf("%61s", value)
