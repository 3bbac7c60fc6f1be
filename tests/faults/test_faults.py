"""Cases 70 and 71: an apply is killed, or a system call fails, at every step of it."""

import os
import subprocess
import sys

import pytest

from tests.faults.__main__ import table
from tests.faults.injection import ERRORS, FAULTS, KILL, LASTING, REPOSITORY, Bench, available

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(available() != "", reason=f"NOT RUN: {available()}"),
]

#: besides the usual way: without nameless files, without openat2, with a journal, through a mount point
WAYS = [(), ("named",), ("walk",), ("journal",), ("named", "walk", "journal"), ("in-place",)]


def judged(options: tuple[str, ...], faults: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    if "in-place" in options and os.getuid():
        pytest.skip("NOT RUN: needs root, for mounts")
    outcomes = list(Bench(options).experiments(faults))
    with capsys.disabled():
        print(f"\n{' '.join(options) or 'as usual'}: {len(outcomes)} faults\n{table(outcomes)}")
    wrong = [f"{outcome.call} {outcome.fault}: {outcome.text}" for outcome in outcomes if outcome.wrong]
    assert not wrong, "\n".join(wrong)
    assert len(outcomes) > 50 * len(faults)


@pytest.mark.parametrize("options", WAYS, ids=" ".join)
def test_attack_70_a_kill_at_every_system_call_leaves_each_file_old_or_new(options, capsys):
    judged(options, (KILL,), capsys)


@pytest.mark.parametrize("options", WAYS, ids=" ".join)
def test_attack_71_a_full_disk_at_every_system_call_leaves_everything_old(options, capsys):
    judged(options, ("ENOSPC",), capsys)


def test_attack_71_every_error_at_every_system_call_leaves_everything_old(capsys):
    judged((), (*(error for error in ERRORS if error != "ENOSPC"), *LASTING), capsys)


def test_the_table_can_be_asked_for_on_the_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "nonsense"],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert (done.returncode, done.stderr) == (
        2,
        "unknown: nonsense; there are named, walk, journal, in-place\n",
    )
    assert set(FAULTS) == {*ERRORS, *LASTING, KILL}
