"""Filters with a format; expected texts were recorded with pongo2 4.0.2."""

import pytest

from templater.pongo2 import compile
from templater.pongo2.filters.formats import stringformat
from templater.pongo2.render_state import DEFAULT_LIMITS, Render
from templater.pongo2.values import to_string

RENDER = Render(compile("x").program, {}, None, None, DEFAULT_LIMITS)


@pytest.mark.parametrize(
    ("function", "value", "argument", "text"),
    [
        (stringformat, 5, "%05d", "00005"),
        (stringformat, "x", "%d", "%!d(string=x)"),
        (stringformat, ["a", 1], "%v", "[a 1]"),
    ],
)
def test_the_stringformat_filter_matches_the_recorded_output_of_pongo2(function, value, argument, text):
    assert to_string(function(RENDER, value, argument)) == text
