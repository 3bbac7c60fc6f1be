"""Filters that quote; expected texts were recorded with pongo2 4.0.2."""

import pytest

from templater.pongo2.filters.escaping import addslashes, e, escape, escapejs, safe
from templater.pongo2.values import to_string


@pytest.mark.parametrize(
    ("function", "value", "argument", "text"),
    [
        (escape, '<a href="x">&\'</a>', None, "&lt;a href=&quot;x&quot;&gt;&amp;&#39;&lt;/a&gt;"),
        (escape, None, None, ""),
        (escape, ["a"], None, "&lt;[]string Value&gt;"),
        (safe, "<b>", None, "<b>"),
        (escapejs, 'a\\n b"1/é😀', None, "a\\u000A b\\u0022\\u0031/\\u00E9\\u1F600"),
        (escapejs, "\r\n", None, "\\u000D\\u000A"),
        (addslashes, "a\\\"b'", None, "a\\\\\\\"b\\'"),
        (addslashes, 5, None, "5"),
    ],
)
def test_escaping_filters_match_the_recorded_output_of_pongo2(function, value, argument, text):
    assert to_string(function(value, argument)) == text


def test_v4_has_no_filter_named_e():
    assert e("<", None) == "&lt;"
    assert "v4" not in e.filter_dialects
