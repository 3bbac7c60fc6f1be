"""Filters on numbers; expected texts were recorded with pongo2 4.0.2."""

import pytest

from templater.pongo2.filters.numbers import add, divisibleby, float_, floatformat, get_digit, integer
from templater.pongo2.values import TooLarge, to_string


@pytest.mark.parametrize(
    ("function", "value", "argument", "text"),
    [
        (add, 1, 2, "3"),
        (add, 1, 2.5, "3.500000"),
        (add, "1", 2, "12"),
        (add, 9223372036854775807, 1, "-9223372036854775808"),
        (add, None, "x", "x"),
        (divisibleby, 9, 3, "True"),
        (divisibleby, 9, 0, "False"),
        (float_, "1e3", None, "1000.000000"),
        (float_, "x", None, "0.000000"),
        (integer, "3.9", None, "3"),
        (integer, 1e30, None, "-9223372036854775808"),
        (floatformat, 3.0, None, "3"),
        (floatformat, 2.55, 1, "2.5"),
        (floatformat, 2.5, 0, "2"),
        (floatformat, 3.0, 3, "3.000"),
        (floatformat, 3.0, "3", "3"),
        (floatformat, 1.005, 2, "1.00"),
        (floatformat, "x", 2, "0.00"),
        (floatformat, 3.14159, -2, "3.14"),
        (get_digit, 123, 1, "3"),
        (get_digit, "a-", 1, "253"),
        (get_digit, 123, 9, "123"),
    ],
)
def test_number_filters_match_the_recorded_output_of_pongo2(function, value, argument, text):
    assert to_string(function(value, argument)) == text


def test_the_floatformat_filter_prints_zeros_beyond_the_precision_of_a_float():
    text = floatformat(0.1, 2000)
    assert len(text) == 2002
    assert float(text) == 0.1


def test_the_floatformat_filter_refuses_too_many_decimals():
    with pytest.raises(TooLarge):
        floatformat(0.1, 10**9)
