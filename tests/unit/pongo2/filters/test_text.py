"""Filters on text; expected texts were recorded with pongo2 4.0.2."""

import pytest

from templater.pongo2.filters.text import (
    capfirst,
    center,
    cut,
    linebreaks,
    linebreaksbr,
    linenumbers,
    ljust,
    lower,
    phone2numeric,
    rjust,
    title,
    truncatechars,
    truncatewords,
    upper,
    wordcount,
    wordwrap,
)
from templater.pongo2.values import Panic, TooLarge, to_string


@pytest.mark.parametrize(
    ("function", "value", "argument", "text"),
    [
        (upper, "straße ǆ", None, "STRAßE Ǆ"),
        (upper, True, None, "TRUE"),
        (lower, "İ\u03a3\u0391\u03a3", None, "i\u03c3\u03b1\u03c3"),
        (title, "it's a_b 1st a—b", None, "It'S A_b 1st A—b"),
        (title, 5, None, ""),
        (capfirst, "éa", None, "Éa"),
        (capfirst, 5, None, ""),
        (center, "ab", "5", "  ab "),
        (center, 5, 4, "  5  "),
        (center, "abc", 2, "abc"),
        (ljust, "ab", 4, "ab  "),
        (ljust, 5, 2, "5  "),
        (rjust, "é", 3, "  é"),
        (rjust, "ab", -4, "ab  "),
        (rjust, "ab", None, "ab"),
        (cut, "banana", "an", "ba"),
        (cut, "ab", None, "ab"),
        (truncatechars, "hello world", 8, "hello..."),
        (truncatechars, "hello", 2, "he"),
        (truncatechars, "é日😀xyz", 5, "é日..."),
        (truncatewords, "one two\u2028three four", 2, "one two ..."),
        (truncatewords, "a b", 0, ""),
        (wordcount, "a\x1cb c\xa0d", None, "3"),
        (wordwrap, "a b c d", 2, "a b\nc d"),
        (wordwrap, "a b c d e", 2, "a b\nc d\ne"),
        (wordwrap, "a b", 0, "a b"),
        (linebreaks, "a\n\nb\nc", None, "<p>a</p><p>b<br />c</p>"),
        (linebreaks, "a\n", None, "<p>a</p><p></p>"),
        (linebreaks, "", None, ""),
        (linebreaksbr, "a\r\nb", None, "a\r<br />b"),
        (linenumbers, "a\nb", None, "1. a\n2. b"),
        (phone2numeric, "1-800-CALLzQ é", None, "1-800-225597 é"),
    ],
)
def test_text_filters_match_the_recorded_output_of_pongo2(function, value, argument, text):
    assert to_string(function(value, argument)) == text


def test_a_text_width_beyond_the_limit_is_refused():
    for pad in (center, ljust, rjust):
        with pytest.raises(TooLarge):
            pad("x", 10_000_000)


def test_rjust_prints_a_go_error_for_an_excessive_width():
    assert rjust("x", 10_000_010) == "%!(NOVERB)%!(EXTRA string=x)"


def test_wordwrap_may_panic_if_the_last_line_is_short():
    with pytest.raises(Panic, match=r"out of range \[6:5\]"):
        wordwrap("a b c d e", 3)


def test_truncating_a_text_to_a_negative_length_panics():
    with pytest.raises(Panic):
        truncatechars("abc", -1)


def test_text_filters_replace_invalid_bytes_as_pongo2_does():
    stray = "\udcc3"
    assert upper(stray, None) == capfirst(stray, None) == truncatechars(stray, 5) == "\ufffd"
    assert cut("é", stray) == "\udca9"
