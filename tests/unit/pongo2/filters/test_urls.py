"""Filters for URLs; expected texts were recorded with pongo2 4.0.2."""

import pytest

from templater.pongo2.filters.urls import iriencode, urlencode
from templater.pongo2.values import to_string


@pytest.mark.parametrize(
    ("function", "value", "argument", "text"),
    [
        (urlencode, "a b&é/~", None, "a+b%26%C3%A9%2F~"),
        (iriencode, 'a b&é/~"', None, "a+b&%C3%A9/~%22"),
    ],
)
def test_url_filters_match_the_recorded_output_of_pongo2(function, value, argument, text):
    assert to_string(function(value, argument)) == text
