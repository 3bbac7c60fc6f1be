"""A few examples of ``python -m tests.fuzz``, so that a change that breaks the fuzzer is noticed."""

import pytest

from tests.fuzz.templates import run


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bytes", "mutated"])
def test_any_random_template_renders_or_raises_a_templater_error(name: str) -> None:
    fuzz = run(name, 400, seed=2)
    assert not fuzz.wrong, "\n".join(fuzz.wrong[:5])
    assert fuzz.counts["rendered"] > 50
    assert fuzz.slowest[0] < 2
