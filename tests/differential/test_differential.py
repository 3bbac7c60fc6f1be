"""A fixed number of random templates, rendered by the real pongo2 and by templater.

``python -m tests.differential --examples 100000`` renders any other number.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.differential import compare
from tests.differential.__main__ import Run
from tests.differential.compare import agree, differs, is_random, ours, shrunk, theirs
from tests.differential.grammar import PROFILES, Choices, Example, replayed, seeded
from tests.differential.oracle import Oracle, real_pongo2

#: The first run compiles a Go program for half a minute.
pytestmark = pytest.mark.slow

#: number of examples of each profile
EXAMPLES = {"templates": 1500, **dict.fromkeys(PROFILES, 400)}


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with real_pongo2() as running:
        yield running


@pytest.mark.parametrize("profile", EXAMPLES)
def test_templater_and_pongo2_agree_on_random_templates(oracle, profile):
    run = Run(oracle, "v4", profile)
    run.examples(seed=2024, start=0, count=EXAMPLES[profile])
    smallest = [shrunk(oracle, example, rounds=300).request() for example in run.different[:3]]
    assert not smallest
    assert run.counts["parsed"] > run.counts["examples"] / 2


def test_the_suggested_for_loop_prints_the_same_value_as_the_subscript(oracle):
    template = '{% for k, v in m %}{% if k == "ipv4.address" %}{{ v }}{% endif %}{% endfor %}'
    context = {"m": {"ipv4.address": "10.0.0.5", "name": "eth0"}}
    request = {"template": template, "context": context, "mode": "plain", "dialect": "v4", "options": {}}
    (answer,) = oracle.ask([request])
    subscript = {**request, "template": '{{ m["ipv4.address"] }}'}
    for output in (
        theirs(answer),
        ours(request),
        *(ours(subscript | {"dialect": name}) for name in ("v6", "v6.1")),
    ):
        assert output == {"output": b"10.0.0.5"}


@st.composite
def examples(draw: st.DrawFn) -> Example:
    return Example(Choices(lambda n: draw(st.integers(0, n - 1))))


@settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(example=examples())
def test_templater_and_pongo2_agree_on_hypothesis_templates(oracle, example):
    request = example.request()
    (answer,) = oracle.ask([request])
    assert agree(ours(request), theirs(answer)) or is_random(oracle, request)


# --- the tester itself ------------------------------------------------------------------------------


def test_the_program_with_the_real_pongo2_restarts_after_a_crash(oracle):
    plain = {"context": {}, "mode": "plain"}
    hang = {"template": "{% comment %}{% endcomment x %}"} | plain
    recursion = {"template": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"} | plain
    panic = {"template": "{{ 1 / 0 }}"} | plain
    fine = {"template": "{{ 1 + 1 }}"} | plain
    answers = list(oracle.ask([fine, hang, panic, recursion, fine, recursion]))
    assert [a.get("phase") or a["output"] for a in answers] == ["2", "hang", "execute", "death", "2", "death"]
    assert answers[2]["panic"]


def test_the_real_pongo2_program_still_answers_after_a_hanging_template(oracle):
    hang = {"template": "{% comment %}{% endcomment x %}", "context": {}, "mode": "plain"}
    (answer,) = oracle.ask([hang])
    assert answer["phase"] == "hang"
    (answer,) = oracle.ask([hang | {"template": "fine"}])
    assert answer["output"] == "fine"


def test_a_pongo2_hang_does_not_count_as_a_difference(oracle, monkeypatch):
    """pongo2's filter join searches each character of a string from the start."""
    monkeypatch.setattr(compare, "THEIR_PATIENCE", 2)
    slow = Example(seeded("0/0"))
    request = {"template": '{{ 1|floatformat:n|join:"," }}', "context": {"n": 300_000}, "mode": "plain"}
    monkeypatch.setattr(Example, "request", lambda _: request)
    run = Run(oracle, "v4", "templates")
    (answer,) = oracle.ask([request])
    run.example(slow, request, answer)
    assert run.counts["answered by us alone, pongo2 hangs"] == 1
    assert not run.different


def test_a_limit_error_is_counted_separately_from_differences(oracle, monkeypatch):
    request = {"template": "{{ 1|rjust:n|make_list|upper }}", "context": {"n": 1_000_000}, "mode": "plain"}
    monkeypatch.setattr(Example, "request", lambda _: request)
    run = Run(oracle, "v4", "templates")
    (answer,) = oracle.ask([request])
    run.example(Example(seeded("0/0")), request, answer)
    assert run.counts["past our limits"] == 1
    assert not run.different


def test_the_order_of_go_map_keys_is_ignored(oracle):
    request = {
        "template": "{% for k in m %}{{ k }}{% endfor %}",
        "context": {"m": {"a": 1, "b": 2}},
        "mode": "plain",
    }
    assert is_random(oracle, request)


def test_recorded_random_choices_produce_the_same_example_again():
    for i in range(50):
        example = Example(seeded(f"9/{i}"))
        again = Example(replayed(example.choices))
        assert again.request() == example.request()


def test_random_templates_contain_subscripts_only_if_the_dialect_supports_them():
    subscripts = Counter()
    for dialect in ("v4", "v6"):
        for i in range(100):
            example = Example(seeded(f"9/{i}"), dialect=dialect)
            again = Example(replayed(example.choices), dialect=dialect)
            assert again.request() == example.request()
            assert again.request()["dialect"] == dialect
            subscripts[dialect] += example.template.count('["')
    assert subscripts["v4"] == 0
    assert subscripts["v6"] > 20


def test_differences_from_pongo2_are_reduced_to_small_templates(oracle, monkeypatch):
    """The test changes templater: the filter upper turns b into X."""
    from templater.pongo2.filters import text

    honest = text.upper_text
    monkeypatch.setattr(text, "upper_text", lambda t: honest(t).replace("B", "X"))
    found = (Example(seeded(f"3/{i}")) for i in range(4000))
    different = next(islice((e for e in found if "upper" in e.template and differs(oracle, e.request())), 1))
    small = shrunk(oracle, different, rounds=600)
    assert "upper" in small.template
    assert len(small.template) < len(different.template)
    assert differs(oracle, small.request())


def test_the_program_with_the_real_pongo2_reproduces_the_recorded_vectors(oracle):
    import json

    folder = Path(__file__).parents[1] / "vectors"
    lines = [json.loads(line) for path in sorted(folder.rglob("*.jsonl")) for line in path.open()]
    vectors = [v for v in lines if "v4" in v and "nondeterministic" not in v.get("area", "")][::5]
    assert vectors
    for vector, answer in zip(vectors, oracle.ask(vectors), strict=True):
        said = {k: answer[k] for k in ("output", "output_b64", "error") if k in answer}
        assert said == {k: v for k, v in vector["v4"].items() if k not in ("panic", "phase")}, vector["id"]
