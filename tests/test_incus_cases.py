"""Recorded steps of a real Incus, compared with templater's simulation.

Debian's Incus 6.0.4 was watched through the lives of instances: ``tests/incus_cases``, verbs that are not
in these in ``tests/incus_lives``, and profiles, devices, moves, projects and rebuilds in
``tests/incus_cases_2``. TEMPLATER_INCUS_CASES names other folders of the same form, separated by colons. The
predicted outcome of the host and the result of a simulation must equal the observed result. templater's own
result must equal it, too, unless a named deviation explains the difference.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from templater.model.hosts import INCUS_DEBIAN
from tests.replay import Replay, cases_in, only_starts
from tests.rootfs_builders import skip_without_root

HERE = Path(__file__).parent
FOLDER = os.environ.get("TEMPLATER_INCUS_CASES")
OWN = [HERE / "incus_cases", HERE / "incus_lives", HERE / "incus_cases_2"]
FOLDERS = [Path(folder) for folder in FOLDER.split(":")] if FOLDER else OWN
CASES = [case for folder in FOLDERS for case in cases_in(folder)]


#: a large template, and a target that a reader waits for
SLOW = ("132_big_template", "104_target_fifo")


def named(cases: list[dict[str, Any]], every: int = 1) -> list[Any]:
    """Return the cases with their names. The fast tests run one of ``every`` cases."""
    return [
        pytest.param(
            case, id=case["id"], marks=pytest.mark.slow if number % every or case["id"] in SLOW else ()
        )
        for number, case in enumerate(cases)
    ]


def test_the_recorded_daemon_cases_exist() -> None:
    assert CASES, f"no cases in {FOLDERS}"


@pytest.mark.parametrize("case", named([case for case in CASES if only_starts(case)]))
def test_creating_and_starting_gives_the_same_files_as_incus(case: dict[str, Any]) -> None:
    Replay(case, INCUS_DEBIAN).run()


@pytest.mark.parametrize("case", named([case for case in CASES if not only_starts(case)], every=3))
def test_a_replayed_lifecycle_gives_the_results_recorded_from_incus(
    case: dict[str, Any],
) -> None:
    skip_without_root(case, "42_uid_gid_mode", "175_create_and_copy_same_file_modes", "n43_by_hand")
    Replay(case, INCUS_DEBIAN).run()
