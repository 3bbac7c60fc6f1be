"""The measuring itself: it accepts linear work and notices quadratic work."""

import pytest

from templater.model.errors import LimitError
from tests.laws.growth import FACTOR, check, measure


def test_linear_work_passes_the_check():
    growth = check(lambda n: lambda: sum(range(n)))
    assert growth.sizes[1] == 8 * growth.sizes[0]


def test_quadratic_time_is_noticed():
    with pytest.raises(AssertionError, match="time grows too fast"):
        check(lambda n: lambda: [a for a in range(n) for b in range(n) if a == b], largest=4000)


def test_quadratic_memory_is_noticed():
    with pytest.raises(AssertionError, match="memory grows too fast"):
        check(lambda n: lambda: bytes(n * n), largest=8000)


def test_an_input_above_a_limit_is_not_measured():
    def subject(n):
        def action():
            if n > 1000:
                raise LimitError("too much")

        return action

    assert measure(subject).sizes[0] <= 1000
    assert measure(subject).time_factor <= FACTOR
