"""Filters with a format; expected texts were recorded with pongo2 4.0.2."""

import pytest

from templater.pongo2.filters.formats import date, stringformat
from templater.pongo2.gotime import FAKE
from templater.pongo2.values import Failure, to_string


@pytest.mark.parametrize(
    ("function", "value", "argument", "text"),
    [
        (stringformat, 5, "%05d", "00005"),
        (stringformat, "x", "%d", "%!d(string=x)"),
        (stringformat, ["a", 1], "%v", "[a 1]"),
    ],
)
def test_recorded(function, value, argument, text):
    assert to_string(function(value, argument)) == text


def test_times_are_formatted_by_their_layout():
    assert date(FAKE, "2006-01-02 15:04") == "2014-02-05 18:31"
    assert date.filter_names == ("date", "time")


def test_only_times_have_dates():
    with pytest.raises(Failure, match="must be of type") as caught:
        date("2020", "2006")
    assert caught.value.sender == "filter:date"
