"""Cases 70 and 71: an apply is killed, or a system call fails, at each of its steps."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.faults.__main__ import table
from tests.faults.injection import ERRORS, FAULTS, KILL, LASTING, OTHERS, Bench, available
from tests.faults.warm import REPOSITORY
from tests.rootfs_builders import a_directory, as_root, snapshot

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(available() != "", reason=f"NOT RUN: {available()}"),
]

#: besides the default: without unnamed files, without openat2, with a journal, through a mount point, with one
#: syncfs for all files, in a root filesystem of another user, on btrfs, where hooks do not wait for the disk, and
#: on an overlay, where templater copies old files
WAYS = [
    (), ("named",), ("walk",), ("journal",), ("named", "walk", "journal"), ("in-place",), ("many",), ("shifted",),
    ("named", "journal", "shifted"), ("btrfs", "journal"), ("btrfs", "named"), ("btrfs", "many", "journal", "hook"),
    ("overlay", "journal"), ("overlay", "named", "journal", "shifted"),
]  # fmt: skip
#: the options that need root, for a mount or for another owner
NEED_ROOT = {"in-place", "shifted", "btrfs", "overlay"}


def require(options: tuple[str, ...]) -> None:
    """Skip the test if this machine lacks something that the options need."""
    if os.getuid() and not NEED_ROOT.isdisjoint(options):
        pytest.skip("NOT RUN: needs root")
    if "btrfs" in options and shutil.which("mkfs.btrfs") is None:
        pytest.skip("NOT RUN: needs btrfs-progs")


def judged(options: tuple[str, ...], faults: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    require(options)
    with Bench(options) as bench:
        outcomes = list(bench.experiments(faults))
    with capsys.disabled():
        print(f"\n{' '.join(options) or 'as usual'}: {len(outcomes)} faults\n{table(outcomes)}")
    wrong = [f"{outcome.call} {outcome.fault}: {outcome.text}" for outcome in outcomes if outcome.wrong]
    assert not wrong, "\n".join(wrong)
    assert len(outcomes) > 50 * len(faults)


@pytest.mark.parametrize("options", WAYS, ids=" ".join)
def test_attack_70_a_kill_at_any_system_call_leaves_no_partial_file(options, capsys):
    judged(options, (KILL,), capsys)


@pytest.mark.parametrize("options", WAYS[::2], ids=" ".join)
def test_attack_71_a_full_disk_at_any_system_call_leaves_every_file_unchanged(options, capsys):
    judged(options, ("ENOSPC",), capsys)


@pytest.mark.parametrize("options", WAYS, ids=" ".join)
def test_the_fault_tests_include_every_system_call_of_the_apply_command(options):
    """A new kind of system call in an apply has to be added to one of the lists."""
    require(options)
    with Bench(options) as bench:
        assert bench.others() <= set(OTHERS)


@pytest.mark.parametrize("fault", ["EIO", "EPERM", "EINTR", "EROFS+"])
def test_attack_71_a_write_error_at_any_system_call_leaves_every_file_unchanged(fault, capsys):
    """``python -m tests.faults`` tries all errors in all configurations."""
    judged((), (fault,), capsys)


@as_root
def test_attack_71_a_full_disk_leaves_every_file_unchanged(tmp_path, mounts):
    (tmp_path / "root").mkdir()
    mounts.tmpfs(tmp_path / "root", "size=128k,mode=0755")
    done = too_much_for(tmp_path / "root", tmp_path)
    assert "can't write '/etc/big': no space left on device" in done.stderr
    assert "free some space" in done.stderr


@as_root
def test_attack_71_an_exhausted_quota_leaves_every_file_unchanged(tmp_path, mounts):
    """A btrfs quota also applies to root."""
    place = mounts.btrfs(tmp_path)
    for words in (["quota", "enable"], ["subvolume", "create"], ["qgroup", "limit", "128k"]):
        where = place if words[0] == "quota" else place / "root"
        subprocess.run(["btrfs", *words, where], check=True, capture_output=True)
    done = too_much_for(place / "root", tmp_path)
    assert "'/etc/big': disk quota exceeded" in done.stderr


def too_much_for(top, folder):
    """Run an apply that needs more space than there is, and check that every file stays as it was."""
    image = a_directory(
        folder / "image", {"templates/small.tpl": "small", "templates/big.tpl": "x" * 200_000}
    )
    (image / "metadata.yaml").write_text(
        "templates:\n"
        "  /etc/hosts: {when: [start], template: small.tpl}\n"
        "  /etc/new/file: {when: [start], template: small.tpl}\n"
        "  /etc/big: {when: [start], template: big.tpl}\n"
    )
    a_directory(top, {"etc/hosts": "old"})
    os.sync()
    before = snapshot(top, times=True)
    done = subprocess.run(
        [sys.executable, "-m", "templater", "apply", image, top, "-t", "start"],
        check=False, capture_output=True, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    assert done.returncode == 6
    assert snapshot(top, times=True) == before
    return done


def test_the_fault_test_program_refuses_an_unknown_set_of_options():
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "nonsense"],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert (done.returncode, done.stderr) == (
        2,
        "unknown: nonsense; there are named, walk, journal, in-place, many, shifted, btrfs, overlay, hook\n",
    )
    assert set(FAULTS) == {*ERRORS, *LASTING, KILL}
