"""Positions in generated texts lead to the last piece that contains them."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from templater.definitions.text_origins import GeneratedSource, Piece
from templater.model.source import Source

WRITTEN = Source("definition.yaml", "x" * 100_000)
RANGES = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6)), min_size=1, max_size=12)


def generated(ranges):
    pieces = [Piece(start, end, WRITTEN.span(number)) for number, (start, end) in enumerate(ranges)]
    return GeneratedSource("metadata.yaml", "y" * len(WRITTEN.text), tuple(pieces))


@settings(deadline=None)
@given(RANGES)
def test_a_position_in_generated_text_belongs_to_the_last_piece_that_contains_it(sizes):
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
def test_the_origin_of_a_position_among_many_generated_pieces_is_found_quickly():
    source = generated([(0, 80_000), *((start, start + 2) for start in range(0, 80_000, 2))])
    begun = time.process_time()
    found = [source.origin(source.span(start)).start for start in range(0, 80_000, 2)]
    assert found == list(range(1, 40_001))
    assert time.process_time() - begun < 5  # a search through all pieces takes a minute
