"""The benchmarks measure what is the same: every engine that is installed gives the same bytes."""

from tests.bench.cases import CASES
from tests.bench.render import Comparison, table


def test_every_engine_gives_the_same_bytes():
    comparison = Comparison(list(CASES), rounds=0)
    assert not comparison.wrong
    assert comparison.cases == list(CASES)
    assert {"templater", "jinja2"} <= {engine.name for engine in comparison.engines}


def test_a_case_that_differs_is_left_out_and_shown():
    odd = CASES[0]._replace(name="odd", jinja="{{ container.name|upper }}")
    comparison = Comparison([odd, CASES[1]], rounds=0)
    assert comparison.cases == [CASES[1]]
    assert "WEB01" in comparison.wrong[0]


def test_ratios_are_how_many_times_as_long_the_others_take():
    times = {("hosts", "templater"): 2000.0, ("hosts", "jinja2"): 5000.0}
    assert "2.50 x" in table("render", times, [CASES[1]])
