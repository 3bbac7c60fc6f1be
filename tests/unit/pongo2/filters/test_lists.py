"""Filters on lists; expected texts were recorded with pongo2 4.0.2."""

import pytest

from templater.pongo2.filters.lists import (
    first,
    join,
    last,
    length_,
    length_is,
    make_list,
    random,
    slice_v4,
    slice_v6,
    split,
)
from templater.pongo2.values import Failure, Panic, TooLarge, gotype, to_string


@pytest.mark.parametrize(
    ("function", "value", "argument", "text"),
    [
        (first, "é日", None, "é"),
        (first, [3, 1], None, "3"),
        (first, {"a": 1}, None, ""),
        (last, "é日", None, "日"),
        (last, [], None, ""),
        (join, [1, "a", None], "-", "1-a-"),
        (join, "é日", ",", "é,日"),
        (join, 5, ",", "5"),
        (length_, "é日", None, "2"),
        (length_, {"a": 1}, None, "1"),
        (length_, 5, None, "0"),
        (length_is, "abc", "3", "True"),
    ],
)
def test_list_filters_match_the_recorded_output_of_pongo2(function, value, argument, text):
    assert to_string(function(value, argument)) == text


@pytest.mark.parametrize(
    ("value", "bounds", "text"),
    [
        ("abcdef", "1:3", "bc"),
        ("abcdef", ":", ""),
        ("abcdef", "0:", ""),
        ("abcdef", "2:", "cdef"),
        ("abcdef", "4:2", "ef"),
        ("abcdef", "1:-1", "bcdef"),
        ("é日😀", "1:2", "日"),
        (5, "1:2", "5"),
    ],
)
def test_the_slice_filter_gives_the_recorded_text_in_v4(value, bounds, text):
    assert to_string(slice_v4(value, bounds)) == text


@pytest.mark.parametrize(
    ("value", "bounds", "text"),
    [
        ("abcdef", "1:3", "bc"),
        ("abcdef", ":", "abcdef"),
        ("abcdef", "4:2", ""),
        ("abcdef", "1:-1", "bcde"),
        ("abcdef", "-2:", "ef"),
        ("abcdef", "-99:2", "ab"),
        ("abcdef", "1.9: ", "bcdef"),
    ],
)
def test_the_slice_filter_gives_the_recorded_text_in_v6(value, bounds, text):
    assert to_string(slice_v6(value, bounds)) == text


@pytest.mark.parametrize("slice_", [slice_v4, slice_v6])
def test_the_slice_filter_requires_one_colon(slice_):
    with pytest.raises(Failure, match="Slice string must have the format"):
        slice_([1], "1")


def test_a_negative_start_of_a_slice_panics_in_v4():
    with pytest.raises(Panic, match="out of range"):
        slice_v4("abc", "-1:")


def test_a_slice_keeps_the_type_of_its_list():
    assert gotype(slice_v4([1, 2], "2:2")) == gotype(slice_v6([1, 2], "2:")) == "[]int"


def test_an_empty_separator_splits_an_empty_string_into_nothing():
    assert split("", "") == []
    assert gotype(split("", "")) == "[]string"
    assert split("", ",") == [""]


def test_the_split_filter_returns_a_list_of_strings():
    assert split("a,b,", ",") == ["a", "b", ""]
    assert split("é日", "") == make_list("é日", None) == ["é", "日"]


def test_the_random_filter_uses_the_random_generator_of_the_render():
    class Render:
        def random(self):
            return 0.99

    assert random(Render(), [1, 2, 3], None) == 3
    assert random(Render(), "é日", None) == "日"
    assert random(Render(), 5, None) == 5


def test_list_filters_refuse_lists_beyond_the_limit():
    with pytest.raises(TooLarge):
        make_list("x" * 1_000_000, None)
