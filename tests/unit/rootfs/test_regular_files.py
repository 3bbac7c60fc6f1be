"""Regular files that are opened only after a check of their type and size."""

import os
import sys

import pytest

from templater.model.errors import LimitError, RefusedError
from templater.rootfs import close_in_another_process, regular_files
from tests.rootfs_builders import as_root


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("has_proc", [True, False])
def test_a_fifo_is_not_opened_instead_of_a_file(tmp_path, root, monkeypatch, has_proc):
    """Opening a watchdog, for example, can reboot the machine."""
    top = tmp_path / "root"
    real = regular_files._require_regular
    swapped = []

    def swap(fd, path, limit, **others):
        status = real(fd, path, limit, **others)
        if not swapped:
            swapped.append(os.rename(top / "fifo", top / "etc/hostname"))
        return status

    monkeypatch.setattr(regular_files, "_require_regular", swap)
    if has_proc:
        before = (top / "etc/hostname").read_bytes()
        assert root.read("/etc/hostname", 100) == before
        assert (top / "etc/hostname").is_fifo()
        return
    opened = os.open

    def without_proc(path, *args, **options):
        if str(path).startswith("/proc/self/fd/"):
            raise FileNotFoundError(2, "No such file or directory")
        return opened(path, *args, **options)

    monkeypatch.setattr(regular_files.os, "open", without_proc)
    with pytest.raises(RefusedError, match=r"^'/etc/hostname' is a fifo, not a regular file$"):
        root.read("/etc/hostname", 100)
    assert swapped


@as_root
def test_attack_86_a_file_above_the_read_limit_is_refused_and_never_opened(root, tmp_path, monkeypatch):
    """The last close of a huge file takes minutes if its owner removes the name while the file is open."""
    (tmp_path / "root/etc/big").write_bytes(b"x" * 101)
    opened, flags_of_files = os.open, []

    def recorded(path, flags, *args, **options):
        if str(path).startswith("/proc/self/fd/"):
            flags_of_files.append(flags)
        return opened(path, flags, *args, **options)

    monkeypatch.setattr(regular_files.os, "open", recorded)
    with root.directory("/etc") as directory:
        for read in (lambda: root.read("/etc/big", 100), lambda: directory.read("big", 100)):
            with pytest.raises(LimitError, match=r"^'/etc/big' is larger than 100 bytes$"):
                read()
        assert flags_of_files == []
        assert directory.read("big", 101) == root.read("/etc/big", 101) == b"x" * 101
    assert len(flags_of_files) == 2


@pytest.mark.parametrize("in_hook", [False, True])
def test_attack_86_hooks_hold_files_removed_during_a_read(root, tmp_path, monkeypatch, in_hook):
    place = tmp_path / "root/etc/hostname"
    if os.geteuid() == 0:
        os.chown(place, 1000, 1000)
    held: list[int] = []
    monkeypatch.setattr(close_in_another_process, "_held", held if in_hook else None)
    before = len(os.listdir("/proc/self/fd"))
    content, number = place.read_bytes(), place.stat().st_ino
    assert root.read("/etc/hostname", 100) == content
    assert held == []
    assert root.read("/etc/hostname", 100, check=lambda fd: place.unlink()) == content
    assert [os.fstat(fd).st_ino for fd in held] == ([number] if in_hook else [])
    for fd in held:
        os.close(fd)
    assert len(os.listdir("/proc/self/fd")) == before
