"""Tests of the mutants: each mutant changes one place, and the same seed gives the same mutants."""

import ast
from pathlib import Path

import pytest

import templater
from tests.mutation.mutants import OPERATORS, mutants, sample

SOURCE = '''\
"""A module."""

def f(a: "int < 3", b=1):
    """A docstring."""
    if a < 3 and not b:
        g(a)
        raise ValueError("x" + "y")
    return a + b if a else "text"
'''


def test_every_mutation_operator_changes_the_source_in_exactly_one_place():
    found = list(mutants(Path("m.py"), SOURCE))
    assert {mutant.operator for mutant in found} == set(OPERATORS)
    for mutant in found:
        ast.parse(mutant.source)
        changed = [
            (old, new)
            for old, new in zip(SOURCE.splitlines(), mutant.source.splitlines(), strict=False)
            if old != new
        ]
        assert changed, mutant
        assert "A docstring." in mutant.source and '"int < 3"' in mutant.source
    sources = {mutant.source for mutant in found}
    assert len(sources) == len(found)
    assert any("a <= 3 and" in source.replace("(", "").replace(")", "") for source in sources)
    assert any("        pass\n" in source for source in sources)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_mutants():
    def lines(seed):
        return [
            str(mutant) for mutant in sample(Path(templater.__file__).parent, seed, 12, "writing/apply_locks")
        ]

    first = lines(7)
    assert first == lines(7)
    assert first != lines(8)
    assert len(set(first)) == 12
    assert all(mutant.startswith("templater/writing/apply_locks.py") for mutant in first)
