"""Disk snapshots: entries match the disk, files are read on demand, and the disk is never written."""

import os

import pytest

from templater.cli.run_command_line import main
from templater.model.entry import DIRECTORY, SYMLINK
from templater.model.errors import LimitError
from templater.rootfs.directory_rootfs import DirectoryRootfs
from templater.simulation import writable_copy
from templater.simulation.writable_copy import WritableCopy
from tests.processor_time import ends_within


@pytest.fixture
def disk(tmp_path):
    (tmp_path / "etc/deep").mkdir(parents=True)
    (tmp_path / "etc/hosts").write_text("old")
    (tmp_path / "etc/hosts").chmod(0o640)
    (tmp_path / "etc/link").symlink_to("hosts")
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 1 << 40)
    with DirectoryRootfs(str(tmp_path)) as rootfs:
        yield rootfs


def test_every_entry_of_a_writable_copy_matches_the_disk(disk):
    view = WritableCopy(disk)
    assert dict(view.walk()).keys() == dict(disk.walk()).keys()
    for path, entry in disk.walk():
        assert repr(view.entry(path)) == repr(entry)
    assert view.entry("/etc/deep").kind == DIRECTORY
    assert view.entry("/etc/link").kind == SYMLINK


def test_writable_copy_reads_each_file_once_and_on_demand(disk, monkeypatch):
    read = []
    real = DirectoryRootfs.read
    monkeypatch.setattr(
        DirectoryRootfs, "read", lambda self, path, limit: read.append(path) or real(self, path, limit)
    )
    view = WritableCopy(disk)
    twin = view.copy()
    assert read == []
    assert view.read("/etc/hosts", 100) == view.read("/etc/hosts", 100) == b"old"
    assert read == ["/etc/hosts"]
    assert twin.read("/etc/hosts", 100) == b"old"
    assert view.copy().read("/etc/hosts", 100) == b"old"
    assert read == ["/etc/hosts"] * 2


def test_a_writable_copy_does_not_read_a_file_of_a_terabyte(disk):
    view = WritableCopy(disk)
    assert view.entry("/large").size == 1 << 40
    with pytest.raises(LimitError):
        view.read("/large", 1 << 20)


def test_a_size_limit_applies_to_every_read_of_a_file(disk):
    view = WritableCopy(disk)
    for _ in range(2):
        with pytest.raises(LimitError):
            view.read("/etc/hosts", 2)
        assert view.read("/etc/hosts", 3) == b"old"


def test_writing_changes_neither_the_disk_nor_other_copies(disk, tmp_path):
    view = WritableCopy(disk)
    twin = view.copy()
    view.write("/etc/hosts", b"new")
    assert view.read("/etc/hosts", 100) == b"new"
    assert twin.read("/etc/hosts", 100) == b"old"
    assert (tmp_path / "etc/hosts").read_text() == "old"
    assert view.entry("/etc/hosts").size == 3


def test_too_many_files_and_directories_give_a_limit_error(disk, monkeypatch):
    monkeypatch.setattr(writable_copy, "MOST_NAMES", 4)
    with pytest.raises(LimitError) as caught:
        WritableCopy(disk)
    assert "more than 4 files and directories" in caught.value.message
    assert caught.value.hint


def chain(folder, depth):
    above = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=above)
        below = os.open("d", os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = below
    os.close(above)


def test_too_deep_directories_give_a_limit_error(disk, tmp_path):
    """A generator inside a generator for each directory raised a RecursionError without a path."""
    chain(tmp_path, 1500)
    with pytest.raises(LimitError, match=r"'/d/d.*…' in '.*' is more than 500 directories deep"):
        WritableCopy(disk)


@pytest.mark.slow
def test_a_writable_copy_reads_many_deep_directories_in_a_few_seconds(tmp_path):
    """Each name was searched from the root: 30,000 directories took 5 seconds."""
    for number in range(60):
        (tmp_path / str(number)).mkdir()
        chain(tmp_path / str(number), 490)
    with DirectoryRootfs(str(tmp_path)) as disk, ends_within(4):
        assert len(list(WritableCopy(disk).walk())) == 60 * 491


def test_a_simulation_reads_only_the_existing_targets_of_templates(tmp_path, monkeypatch, capsys):
    (tmp_path / "image/templates").mkdir(parents=True)
    (tmp_path / "image/templates/a.tpl").write_text("new\n")
    (tmp_path / "image/metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1\ntemplates: {/etc/a: {when: [start], template: a.tpl}}\n"
    )
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    for name in ("a", "b", "c"):
        (tmp_path / "rootfs/etc" / name).write_text("old\n")
    read = []
    real = DirectoryRootfs.read
    monkeypatch.setattr(
        DirectoryRootfs, "read", lambda self, path, limit: read.append(path) or real(self, path, limit)
    )
    words = ["simulate", str(tmp_path / "image"), "start", "--rootfs", str(tmp_path / "rootfs"), "--diff"]
    assert main(words) == 0
    assert "-old\n+new\n" in capsys.readouterr().out
    assert set(read) == {"/etc/a"}


def test_a_writable_copy_has_the_same_path_flags_as_the_disk(disk, monkeypatch):
    monkeypatch.setattr(DirectoryRootfs, "flag", lambda self, path: f"flag of {path}")
    view = WritableCopy(disk)
    for path in ("/", "/etc", "/etc/hosts"):
        assert view.flag(path) == f"flag of {path}"
