"""Filters on times."""

import pytest

from templater.pongo2.filters.times import date
from templater.pongo2.golang.time import FAKE
from templater.pongo2.values import Failure


def test_the_date_filter_formats_times_with_the_given_layout():
    assert date(FAKE, "2006-01-02 15:04") == "2014-02-05 18:31"
    assert date.filter_names == ("date", "time")


def test_the_date_filter_refuses_values_that_are_not_times():
    with pytest.raises(Failure, match="must be of type") as caught:
        date("2020", "2006")
    assert caught.value.sender == "filter:date"
