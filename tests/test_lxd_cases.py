"""Recorded steps of a real LXD, compared with templater's simulation.

Debian's LXD 5.0.2 took the same steps as the Incus of ``test_incus_cases`` (``tests/lxd_cases``;
TEMPLATER_LXD_CASES names another folder of the same form).
"""

import os
from pathlib import Path
from typing import Any

import pytest

from templater.model.hosts import LXD_DEBIAN
from tests.replay import Replay, cases_in
from tests.rootfs_builders import skip_without_root

FOLDER = Path(os.environ.get("TEMPLATER_LXD_CASES") or Path(__file__).parent / "lxd_cases")
CASES = cases_in(FOLDER)
#: cases that take long
SLOW = ("104_target_fifo", "118_other_templates_on_error")


def test_the_recorded_daemon_cases_exist() -> None:
    assert CASES, f"no cases in {FOLDER}"


@pytest.mark.parametrize(
    "case",
    [
        # the fast tests run every third case
        pytest.param(
            case,
            id=case["id"],
            marks=pytest.mark.slow if number % 3 or case["id"] in SLOW else (),
        )
        for number, case in enumerate(CASES)
    ],
)
def test_a_replayed_lifecycle_gives_the_results_recorded_from_lxd(
    case: dict[str, Any],
) -> None:
    skip_without_root(case, "175_create_and_copy_same_file_modes")
    Replay(case, LXD_DEBIAN).run()


@pytest.mark.xfail(reason="no recording: a real LXD has to delete a linked template first", strict=True)
def test_a_recorded_case_confirms_that_lxd_deletes_a_template_symlink() -> None:
    """``Replay.do_tpl_delete`` removes the symlink, as LXD's source does. Only a recording can confirm it."""
    for case in CASES:
        linked = ""
        for step in (observed["step"] for observed in case["observed"]):
            if step[0] == "sh" and step[1].startswith("ln -s") and "/templates/" in step[1]:
                linked = step[1].rpartition("/templates/")[2]
            if step[0] == "tpl_delete" and step[2] == linked:
                return
    pytest.fail("no such step")
