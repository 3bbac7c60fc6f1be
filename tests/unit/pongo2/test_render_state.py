"""The work that an operation counts before it runs."""

from types import SimpleNamespace

import pytest

from templater.pongo2.render_state import ELEMENT, SMALL, WORK_OF_STEP, Limits, Render, weigh


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


def test_random_numbers_come_from_the_published_generator_splitmix64():
    state = SimpleNamespace(seed=0, clock=0.0)
    numbers = [Render.random(state) for _ in range(3)]
    assert numbers == [each / 2**64 for each in (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F)]
    state = SimpleNamespace(seed=None, clock=1.234567)
    assert Render.random(state) == 6457827717110365317 / 2**64
