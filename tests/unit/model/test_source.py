"""Excerpts of source texts, and positions in these texts."""

import pytest

from templater.model.source import Source


@pytest.mark.parametrize(
    ("text", "start", "end", "width", "excerpt"),
    [
        ("one\ntwo three\nfour", 8, 13, 100, " 2 | two three\n   |     ^^^^^"),
        ("ab", 2, 2, 100, " 1 | ab\n   |   ^"),
        ("ab\ncd", 1, 5, 100, " 1 | ab\n   |  ^"),
        ("a\x1bbc", 2, 3, 100, " 1 | a\\x1bbc\n   |      ^"),
        ("0123456789", 0, 10, 10, " 1 | 0123456789\n   | ^^^^^^^^^^"),
        ("0123456789a", 0, 11, 10, " 1 | 0123456789\n   | ^^^^^^^^^^"),
        ("0123456789abcdefghij", 3, 4, 10, " 1 | 0123456789\n   |    ^"),
        ("0123456789abcdefghij", 12, 14, 10, " 1 | 789abcdefg\n   |      ^^"),
        ("0123456789abcdefghij", 12, 20, 10, " 1 | 789abcdefg\n   |      ^^^^^"),
        ("0123456789abcdefghij", 19, 20, 10, " 1 | efghij\n   |      ^"),
        ("\n" * 9 + "x", 9, 10, 10, " 10 | x\n    | ^"),
        ("", 0, 0, 10, " 1 | \n   | ^"),
        ("\nab", 0, 0, 10, " 1 | \n   | ^"),
    ],
)
def test_an_excerpt_underlines_the_span_with_carets(text, start, end, width, excerpt):
    assert Source("t", text).span(start, end).excerpt(width) == excerpt


@pytest.mark.parametrize("newline", [1, 2, 100, 4095, 4096, 4097, 5000, 20_000])
def test_line_and_column_are_computed_from_the_preceding_text(newline):
    text = ("x" * (newline - 1) + "\n") * (20_000 // newline) + "\u0a0a" * 9000
    source = Source("t", text)
    for start in (
        *range(0, 29_000, 509),
        4095,
        4096,
        4097,
        8191,
        8192,
        8193,
        20_000,
        len(text),
        len(text) + 1,
    ):
        before = text[:start]
        span = source.span(start)
        line_start = before.rfind("\n") + 1
        assert (span.line, span.column) == (before.count("\n") + 1, start - line_start + 1)
        assert source.line_start(start) == line_start
