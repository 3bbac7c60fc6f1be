"""Cases 70 and 71: an apply is killed, or a system call fails, at every step of it."""

import os
import subprocess
import sys

import pytest

from tests.faults.__main__ import table
from tests.faults.injection import ERRORS, FAULTS, KILL, LASTING, REPOSITORY, Bench, available
from tests.rootfs_builders import a_directory, as_root, snapshot

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


@pytest.mark.parametrize("fault", ["EIO", "EPERM", "EINTR", "EROFS+"])
def test_attack_71_other_errors_at_every_system_call(fault, capsys):
    """All of them, in all ways: ``python -m tests.faults``."""
    judged((), (fault,), capsys)


@as_root
def test_attack_71_a_disk_that_is_really_full_from_the_command_line(tmp_path, mounts):
    image = a_directory(
        tmp_path / "image", {"templates/small.tpl": "small", "templates/big.tpl": "x" * 200_000}
    )
    (image / "metadata.yaml").write_text(
        "templates:\n"
        "  /etc/hosts: {when: [start], template: small.tpl}\n"
        "  /etc/new/file: {when: [start], template: small.tpl}\n"
        "  /etc/big: {when: [start], template: big.tpl}\n"
    )
    (tmp_path / "root").mkdir()
    mounts.tmpfs(tmp_path / "root", "size=128k,mode=0755")
    top = a_directory(tmp_path / "root", {"etc/hosts": "old"})
    before = snapshot(top, times=True)
    done = subprocess.run(
        [sys.executable, "-m", "templater", "apply", image, top, "-t", "start"],
        check=False, capture_output=True, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    assert done.returncode == 6
    assert "can't write '/etc/big': no space left on device" in done.stderr
    assert "free some space" in done.stderr
    assert snapshot(top, times=True) == before


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
