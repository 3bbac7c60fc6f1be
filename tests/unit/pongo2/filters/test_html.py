"""Filters on HTML; expected texts were recorded with pongo2 4.0.2."""

import random

import pytest

from templater.pongo2 import compile
from templater.pongo2.filters.html import (
    _OpenTags,
    removetags,
    removetags_v61,
    striptags,
    truncatechars_html,
    truncatewords_html,
)
from templater.pongo2.render_state import DEFAULT_LIMITS, Render
from templater.pongo2.values import Panic, Safe, to_string
from tests.processor_time import ends_within

RENDER = Render(compile("x").program, {}, None, None, DEFAULT_LIMITS)


@pytest.mark.parametrize(
    ("function", "value", "argument", "text"),
    [
        (striptags, " <p>a<b\n>b</b> < c", None, "ab < c"),
        (truncatechars_html, "<p>Hello <b>world</b></p>", 8, "<p>Hello...</p>"),
        (truncatechars_html, "abc", 5, "ab..."),
        (truncatechars_html, "a</b", 9, "a</b>"),
        (truncatewords_html, "<p>one <b>two three</b></p>", 2, "<p>one <b>two ...</b></p>"),
        (truncatewords_html, "one two", 2, "one two..."),
        (truncatewords_html, "a<b>c d", 1, "a<b>c ...</b>"),
    ],
)
def test_html_filters_match_the_recorded_output_of_pongo2(function, value, argument, text):
    assert to_string(function(value, argument)) == text


@pytest.mark.parametrize(
    ("value", "argument", "text", "text_v61"),
    [
        ("<b>x</b><br/><i>", "b,br", "x<i>", None),
        ('<b class="x">y</b>', "b", '<b class="x">y', None),
        ("<b><i>x</i></b>", "[bi]", "x", "<b><i>x</i></b>"),
        ("<b>x<i>", "b|i", ">x<", "<b>x<i>"),
    ],
)
def test_removetags_treats_names_as_regular_expressions_before_v6_1(value, argument, text, text_v61):
    assert removetags(RENDER, value, argument) == text
    assert removetags_v61(RENDER, value, argument) == (text if text_v61 is None else text_v61)


def test_an_invalid_removetags_pattern_panics_before_version_6_1():
    with pytest.raises(Panic, match="missing closing"):
        removetags(RENDER, "x", "(")
    assert removetags_v61(RENDER, "x", "(") == "x"


@pytest.mark.parametrize("name", ["(?i)" * 240, "{a}{" * 240, "a*" * 480, "(){96}" * 10])
def test_the_work_for_a_regular_expression_counts_toward_the_step_limit(name):
    """A loop with a slow regular expression took 12 seconds before it reached the limit on steps."""
    render = Render(compile("x").program, {}, None, None, DEFAULT_LIMITS)
    removetags(render, "x", name)
    assert 250 < render.limits.steps - render.steps < 1500


def test_truncated_html_is_marked_as_safe():
    assert type(truncatechars_html("abc", 9)) is type(truncatewords_html("abc", 9)) is Safe


def test_closing_an_outer_html_tag_reorders_the_inner_tags():
    assert truncatewords_html("<a><b><c></a>x y", 1) == "<a><b><c></a>x ...</b></c>"


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (striptags, "<" * 200_000),
        (truncatewords_html, "<a>" * 50_000 + "</b>" * 50_000),
        (truncatewords_html, "<b>" * 20_000 + "<a>" * 20_000 + "</b>" * 20_000),
    ],
)
def test_html_filters_take_linear_time_for_long_texts(function, text):
    with ends_within(2):
        function(text, 10**6)


@pytest.mark.parametrize(
    ("function", "value", "argument", "text"),
    [
        (truncatechars_html, "a\ufffdb", 5, "ab..."),
        (truncatechars_html, "\udcff\udcfeabc", 4, "a..."),
        (truncatechars_html, "<b\ufffd>ab</b\ufffd>cdefgh", 6, "<b>ab</b>c..."),
        (truncatewords_html, "one\ufffd two three", 2, "one two ..."),
        (truncatewords_html, "\udcffone two", 1, "one ..."),
    ],
)
def test_html_truncation_removes_invalid_utf_8_bytes(function, value, argument, text):
    assert to_string(function(value, argument)) == text


def test_the_last_open_tag_replaces_a_closed_tag():
    chance = random.Random(1)
    for _ in range(300):
        found, names = _OpenTags(), []
        for _ in range(30):
            name = chance.choice("abc")
            if chance.random() < 0.6:
                found.push(name)
                names.append(name)
            else:
                found.close(name)
                if name in names:
                    index = len(names) - 1 - names[::-1].index(name)
                    top = names.pop()
                    if index < len(names):
                        names[index] = top
            assert found.names == names
