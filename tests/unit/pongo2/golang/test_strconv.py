"""Go's forms of floats."""

import pytest

from templater.pongo2.golang.strconv import format_float, shortest


def test_the_shortest_text_of_a_float_parses_to_the_same_float():
    for number in (0.1, 1e22, 5e-324, 123456.789, -1.7976931348623157e308, 100.0):
        assert float(shortest(number)) == number
        assert "e" not in shortest(number)


def test_hexadecimal_floats_round_half_to_even():
    assert format_float(1.96875, "x", 0) == "0x1p+01"
    assert format_float(1.5, "x", 0) == "0x1p+01"
    assert format_float(1.25, "x", 0) == "0x1p+00"


@pytest.mark.parametrize(
    ("number", "form", "precision", "text"),
    [
        (5e-324, "b", -1, "1p-1074"),
        (0.0, "b", -1, "0p-1074"),
        (1.0, "b", -1, "4503599627370496p-52"),
        (5e-324, "x", -1, "0x1p-1074"),
        (-0.1, "X", -1, "-0X1.999999999999AP-04"),
        (123456789.0, "g", -1, "1.23456789e+08"),
        (0.0001, "g", -1, "0.0001"),
        (1e6, "g", 10, "1000000"),
        (-1.5, "f", -1, "-1.5"),
    ],
)
def test_formatted_floats_match_the_recorded_output_of_the_go_language(number, form, precision, text):
    assert format_float(number, form, precision) == text
