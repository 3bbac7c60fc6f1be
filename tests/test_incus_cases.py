"""What a real Incus did, step by step, and what we do in its place.

Debian's Incus 6.0.4 was watched through the lives of instances: ``tests/incus_cases``, and verbs that are
not in these in ``tests/incus_lives``. TEMPLATER_INCUS_CASES names another folder of the same form. The
host's predicted outcome has to be what was observed, and so has our own result, unless a named deviation
is at work.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from templater.model.hosts import INCUS_DEBIAN
from tests.replay import Replay, cases_in, only_starts

HERE = Path(__file__).parent
FOLDER = os.environ.get("TEMPLATER_INCUS_CASES")
FOLDERS = [Path(FOLDER)] if FOLDER else [HERE / "incus_cases", HERE / "incus_lives"]
CASES = [case for folder in FOLDERS for case in cases_in(folder)]


def named(cases: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in cases]


def test_there_are_cases() -> None:
    assert CASES, f"no cases in {FOLDERS}"


@pytest.mark.parametrize("case", named([case for case in CASES if only_starts(case)]))
def test_create_and_start_do_what_incus_did(case: dict[str, Any]) -> None:
    Replay(case, INCUS_DEBIAN).run()


@pytest.mark.parametrize("case", named([case for case in CASES if not only_starts(case)]))
def test_a_whole_life_goes_as_in_incus(case: dict[str, Any]) -> None:
    Replay(case, INCUS_DEBIAN).run()
