"""The work that an operation counts before it runs."""

from types import SimpleNamespace

import pytest

from templater.pongo2.state import ELEMENT, SMALL, WORK_OF_STEP, Limits, weigh


@pytest.mark.parametrize(
    ("value", "units"),
    [
        ("x" * SMALL, 0),
        ("x" * (SMALL + 1), SMALL + 1),
        (["x"] * (SMALL // ELEMENT), 0),
        (["x"] * 1000, 1000 * ELEMENT),
        (dict.fromkeys(range(1000)), 1000 * ELEMENT),
        (10**9, 0),
    ],
    ids=["small text", "text", "small list", "list", "map", "number"],
)
def test_a_large_value_uses_up_steps_in_proportion_to_its_size(value, units):
    render = SimpleNamespace(steps=1 << 30, limits=Limits(), started=0.0)
    assert weigh(render, value, 100) is value
    assert (1 << 30) - render.steps == units * 100 // WORK_OF_STEP
