"""Texts of numbers are parsed as by Go."""

import pytest

from templater.pongo2.golang.parse_float import parse_float

INF = float("inf")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("+5", 5.0),
        ("1_000", 1000.0),
        ("0x1p4", 16.0),
        ("-0X1.8P-1", -0.75),
        ("0x_1p0", 1.0),
        ("0x_ff.p1", 510.0),
        ("0x1_p0", None),
        ("0x10", None),
        ("0x.p1", None),
        ("0x1p", None),
        ("INF", INF),
        ("-infinity", -INF),
        ("+nan", None),
        ("1e999", None),
        ("-1e999", None),
        ("0x1p9999", None),
        ("1e-999", 0.0),
        (" 1", None),
        ("1 ", None),
        ("\u0661", None),
        ("1__0", None),
        ("--1", None),
        ("+-1", None),
        ("", None),
        (".", None),
        ("e5", None),
        ("9007199254740993", 9007199254740992.0),
    ],
)
def test_number_texts_are_parsed_as_in_the_go_language(text, number):
    assert parse_float(text) == number
