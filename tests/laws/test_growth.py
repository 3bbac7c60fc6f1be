"""Tests of the growth check itself: it accepts linear work and rejects quadratic work."""

import pytest

from templater.model.errors import LimitError
from tests.laws.growth import FACTOR, check, measure


def test_the_growth_check_accepts_linear_work():
    growth = check(lambda n: lambda: sum(range(n)))
    assert growth.sizes[1] == 8 * growth.sizes[0]


def test_the_growth_check_detects_quadratic_time():
    with pytest.raises(AssertionError, match="time grows too fast"):
        check(lambda n: lambda: [a for a in range(n) for b in range(n) if a == b], largest=4000)


def test_the_growth_check_detects_quadratic_memory():
    with pytest.raises(AssertionError, match="memory grows too fast"):
        check(lambda n: lambda: bytes(n * n), largest=8000)


def test_the_growth_check_does_not_measure_an_input_above_a_limit():
    def subject(n):
        def action():
            if n > 1000:
                raise LimitError("too much")

        return action

    assert measure(subject).sizes[0] <= 1000
    assert measure(subject).time_factor <= FACTOR
