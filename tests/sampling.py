"""Parameters of which the fast tests run only some."""

from collections.abc import Iterable
from typing import Any

import pytest


def some_fast(cases: Iterable[Any], *, every: int) -> list[Any]:
    """Mark the cases as slow, except for each ``every``-th of them, from the first on.

    As for ``parametrize``, a case of several parameters is a tuple.
    """
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=[pytest.mark.slow] * (number % every > 0))
        for number, case in enumerate(cases)
    ]  # fmt: skip
