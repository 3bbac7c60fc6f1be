"""The work that an operation counts before it runs."""

from types import SimpleNamespace

import pytest

from templater import pongo2
from templater.model.errors import LimitError
from templater.pongo2 import render_state
from templater.pongo2.render_state import (
    ELEMENT,
    SMALL,
    VERSION,
    WORK_OF_STEP,
    Limits,
    Render,
    charge,
    weigh,
    work,
)
from templater.pongo2.values import MAX


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
def test_the_steps_for_values_are_proportional_to_their_size(value, units):
    render = SimpleNamespace(steps=1 << 30, limits=Limits(), started=0.0)
    assert weigh(render, value, 100) is value
    assert (1 << 30) - render.steps == units * 100 // WORK_OF_STEP


def test_random_numbers_come_from_the_published_generator_splitmix64():
    state = SimpleNamespace(seed=0, clock=0.0)
    numbers = [Render.random(state) for _ in range(3)]
    assert numbers == [each / 2**64 for each in (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F)]
    state = SimpleNamespace(seed=None, clock=1.234567)
    assert Render.random(state) == 6457827717110365317 / 2**64


def limited(**limits):
    made = Limits(**limits)
    made.deadline = made.total
    return made


@pytest.mark.parametrize("limits", [limited(seconds=5.0), limited(total=7.0)], ids=["one", "all"])
@pytest.mark.parametrize("large", ["x" * (SMALL + 1), ["x"] * SMALL], ids=["text", "list"])
@pytest.mark.parametrize(
    "count", [charge, lambda render, value: weigh(render, value, 1)], ids=["new", "used"]
)
def test_the_time_limits_are_checked_for_each_large_value(count, large, limits, monkeypatch):
    render = SimpleNamespace(left=1 << 20, steps=1 << 20, limits=limits, started=2.0)
    now = [7.0]
    monkeypatch.setattr(render_state, "thread_time", lambda: now[0])
    assert count(render, large) is large
    now[0] = 7.1
    assert count(render, "x" * SMALL)
    with pytest.raises(LimitError, match=r"takes longer than 7 seconds|runs longer than 5 seconds"):
        count(render, large)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("x" * SMALL, 0),
        ("x" * (SMALL + 1), SMALL + 1),
        (["x"] * (SMALL // 8), 0),
        (["x"] * 200, 1600),
        (10**9, 0),
    ],
    ids=["small text", "text", "small list", "list", "number"],
)
def test_a_large_new_value_counts_towards_the_limit_on_values(value, size):
    render = SimpleNamespace(left=size, limits=Limits(values=5000), started=0.0)
    assert charge(render, value) is value
    assert render.left == 0
    if size:
        with pytest.raises(LimitError, match=r"^the template builds more than 5000 characters of values$"):
            charge(render, value)


def test_one_operation_and_all_operations_together_have_a_work_limit():
    render = SimpleNamespace(steps=MAX // WORK_OF_STEP, limits=Limits(steps=7), started=0.0)
    with pytest.raises(LimitError, match=f"^one filter or operator needs {MAX + 1} units of work"):
        work(render, MAX + 1)
    work(render, MAX)
    assert render.steps == 0
    with pytest.raises(LimitError, match=r"^the template takes more than 7 steps$"):
        work(render, WORK_OF_STEP)


def test_the_time_limit_for_all_templates_starts_only_once(monkeypatch):
    monkeypatch.setattr(render_state, "thread_time", lambda: 10.0)
    limits = Limits(1, 2, 3, 4, 5.0, 6.0, 7)
    begun = limits.begun()
    assert (limits.deadline, begun.deadline) == (None, 16.0)
    assert begun.begun() is begun
    others = [name for name in Limits.__slots__ if name != "deadline"]
    assert [getattr(begun, name) for name in others] == [getattr(limits, name) for name in others]
    unlimited = Limits()
    assert unlimited.begun() is unlimited


def test_the_time_limit_of_a_template_begins_with_its_render(monkeypatch):
    monkeypatch.setattr(render_state, "thread_time", lambda: 100.0)
    template = pongo2.compile("{{ 'x'|ljust:2000|length }}", mode="plain")
    assert template.render({}, limits=Limits(seconds=5.0)) == "2000"


def test_templates_with_an_exported_macro_can_read_the_version():
    template = pongo2.compile(
        "{% macro f() export %}m{% endmacro %}{{ f() }} {{ pongo2.version }}", mode="plain"
    )
    assert template.render({VERSION: "9.9"}) == "m 9.9"
