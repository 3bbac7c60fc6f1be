"""Positions in generated texts lead to the last piece that contains them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from templater.definitions.text_origins import GeneratedSource, GeneratedTemplate, Piece, span_in_scalar
from templater.model.source import Source
from templater.parsing.yaml_nodes import parse
from tests.processor_time import ends_within

WRITTEN = Source("definition.yaml", "x" * 100_000)
RANGES = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6)), min_size=1, max_size=12)


def generated(ranges):
    pieces = [Piece(start, end, WRITTEN.span(number)) for number, (start, end) in enumerate(ranges)]
    return GeneratedSource("metadata.yaml", "y" * len(WRITTEN.text), tuple(pieces))


@settings(deadline=None)
@given(RANGES)
def test_the_origin_of_a_position_is_the_last_range_around_it(sizes):
    """A later range is a part of an earlier range, such as a field in the text of a whole entry."""
    ranges = [(start, start + size) for start, size in sizes]
    source = generated(ranges)
    for position in range(20):
        # A piece without text contains the position at which it was written.
        inside = [n for n, (start, end) in enumerate(ranges) if start <= position < max(end, start + 1)]
        assert source.origin(source.span(position)).start == max(inside, default=0)


def test_a_span_is_its_own_origin_if_no_text_was_generated():
    source = generated([])
    span = source.span(3)
    assert source.origin(span) is span


@pytest.mark.slow
def test_an_origin_is_found_quickly_among_many_generated_pieces():
    source = generated([(0, 80_000), *((start, start + 2) for start in range(0, 80_000, 2))])
    with ends_within(5):  # a search through all pieces takes a minute
        found = [source.origin(source.span(start)).start for start in range(0, 80_000, 2)]
        assert found == list(range(1, 40_001))


def test_a_generated_template_has_the_given_text_and_size():
    for data in (b"", b"text"):
        template = GeneratedTemplate(data, ())
        assert (template.source("t").name, template.source("t").text) == ("t", data.decode())
        assert (template.entry.size, template.entry.mode) == (len(data), 0o644)


@pytest.mark.parametrize(
    ("yaml", "start", "end", "found"),
    [
        ("a: plain text", 6, 10, "text"),
        ("a: 'plain text'", 0, 5, "plain"),
        ('a: "plain text"', 6, 99, "text"),
        ('a: "x\\ty"', 0, 1, '"x\\ty"'),
        ("a: |\n  one\n   two\n  three\n", 0, 3, "one"),
        ("a: |\n  one\n   two\n  three\n", 5, 8, "two"),
        ("a: |\n  one\n   two\n  three\n", 4, 5, " "),
        ("a: |\n  one\n   two\n  three\n", 9, 99, "three"),
        ("a: |-\n  one\n\n  two", 5, 6, "t"),
        ("a: |-\n  one\n\n  two", 5, 5, ""),
        ("a: >\n  one\n  two\n", 0, 3, ">\n  one\n  two\n"),
    ],
)
def test_part_of_a_yaml_value_can_be_located_exactly(yaml, start, end, found):
    scalar = parse(Source("d.yaml", yaml)).children[1]
    known = {}
    for _ in range(2):  # the second time, the lines are in the cache
        span = span_in_scalar(scalar, start, end, known)
        assert scalar.source.text[span.start : span.end] == found
