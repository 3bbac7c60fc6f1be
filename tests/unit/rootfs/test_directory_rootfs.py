"""User and group ids on disk and in the container."""

import os

import pytest

from templater import oslite
from templater.model.entry import OVERFLOW_ID
from templater.model.errors import InputError, RefusedError
from templater.rootfs import directory_rootfs
from templater.rootfs.directory_rootfs import DirectoryRootfs, open_root
from templater.rootfs.id_map import IDENTITY, IdMap, shifted
from templater.rootfs.paths import MissingError, SlowError
from tests.rootfs_builders import a_directory, as_root


def test_uids_and_gids_are_mapped_in_both_directions():
    ids = IdMap(((0, 100000, 1000), (1000, 1000, 1), (1001, 101001, 10)), ((0, 200000, 2000),))
    assert ids.on_disk(999, 1999) == (100999, 201999)
    assert ids.on_disk(1000, 0) == (1000, 200000)
    assert ids.in_container(1000, 200005) == (1000, 5)
    assert ids.in_container(0, 0) == (OVERFLOW_ID, OVERFLOW_ID)


@pytest.mark.parametrize(
    ("uid", "gid", "what"), [(1011, 0, "uid 1011"), (0, 2000, "gid 2000"), (-1, 0, "uid -1")]
)
def test_writing_a_file_with_an_unmapped_id_is_refused(uid, gid, what):
    ids = IdMap(((0, 100000, 1000), (1001, 101001, 10)), ((0, 200000, 2000),))
    with pytest.raises(RefusedError, match=f"the container's {what} is not in its id map") as caught:
        ids.on_disk(uid, gid)
    assert "0-999" in caught.value.hint or "0-1999" in caught.value.hint


def test_an_empty_id_map_refuses_every_id():
    with pytest.raises(RefusedError, match="not in its id map"):
        IdMap((), ()).on_disk(0, 0)


@pytest.mark.parametrize("owner", [0, 1000, 100000])
def test_the_filesystem_owner_is_root_without_an_id_map(owner):
    ids = shifted(owner, owner)
    assert ids.on_disk(0, 0) == (owner, owner)
    assert ids.in_container(owner, owner) == (0, 0)


def test_ids_outside_the_range_of_a_shifted_directory_are_refused():
    """A container has 65,536 ids. Higher ids belong to other users."""
    with pytest.raises(RefusedError):
        shifted(1000, 1000).on_disk(1, 0)
    assert shifted(100000, 100000).on_disk(33, 44) == (100033, 100044)
    with pytest.raises(RefusedError):
        shifted(100000, 100000).on_disk(65536, 0)


@as_root
def test_an_id_map_is_refused_if_it_contradicts_the_directory_owner(tmp_path):
    top = a_directory(tmp_path / "root", {"f": "x"})
    with DirectoryRootfs(str(top), IDENTITY) as rootfs:
        assert rootfs.entry("/f").uid == 0
    os.chown(top, 100000, 100000)
    opened = os.listdir("/proc/self/fd")
    with pytest.raises(RefusedError, match=r"root the uid 0 on disk, but .* belongs to uid 100000"):
        DirectoryRootfs(str(top), IDENTITY)
    assert os.listdir("/proc/self/fd") == opened, "the directory is closed again"


@as_root
def test_a_file_with_an_unmapped_owner_belongs_to_the_user_nobody(tmp_path):
    top = a_directory(tmp_path / "root", {"f": "x"})
    os.chown(top, 100000, 100000)
    with DirectoryRootfs(str(top)) as rootfs:
        assert (rootfs.entry("/f").uid, rootfs.entry("/").uid) == (OVERFLOW_ID, 0)


def test_a_missing_root_filesystem_is_an_error(tmp_path):
    with pytest.raises(InputError, match="can't be opened as a directory: no such file"):
        DirectoryRootfs(str(tmp_path / "none"))


def test_a_walk_of_a_root_filesystem_is_sorted_and_skips_mounts(tmp_path, mounts):
    top = a_directory(tmp_path / "root", {"b/x": "1", "a": "2", "m": None})
    with DirectoryRootfs(str(top)) as rootfs:
        assert [path for path, _ in rootfs.walk()] == ["/a", "/b", "/b/x", "/m"]
        if os.getuid() == 0:
            mounts.bind(top / "b", top / "m")
            assert [path for path, _ in rootfs.walk()] == ["/a", "/b", "/b/x", "/m"]


@as_root
def test_reading_enters_a_mount_below_the_root_only_on_request(tmp_path, mounts):
    top = a_directory(tmp_path / "root", {"b/x": "1", "m": None})
    mounts.bind(top / "b", top / "m")
    with DirectoryRootfs(str(top)) as rootfs, pytest.raises(RefusedError, match="mount point"):
        rootfs.read("/m/x", 100)
    with DirectoryRootfs(str(top), cross_mounts=True) as rootfs:
        assert rootfs.read("/m/x", 100) == b"1"


@as_root
def test_reading_below_a_mount_point_fails_without_explicit_permission(tmp_path, mounts):
    top = a_directory(tmp_path / "image", {"rootfs/b/x": "1", "rootfs/m": None})
    mounts.bind(top / "rootfs/b", top / "rootfs/m")
    with open_root(str(top)) as root:
        with pytest.raises(RefusedError, match="mount point"):
            root.read("/rootfs/m/x", 100)
        with root.below("/rootfs") as below, pytest.raises(RefusedError, match="mount point"):
            below.read("/m/x", 100)
        with root.below("/rootfs", cross_mounts=True) as below:
            assert below.read("/m/x", 100) == b"1"


@pytest.mark.parametrize("mechanism", ["openat2", "walk"])
@pytest.mark.parametrize(
    ("old", "is_equal"),
    [("text", True), ("tex", False), ("texts", False), ("tExt", False), ("", False)],
)
def test_has_content_returns_true_only_for_equal_bytes(tmp_path, monkeypatch, mechanism, old, is_equal):
    monkeypatch.setenv("TEMPLATER_CONFINED", mechanism)
    with DirectoryRootfs(str(a_directory(tmp_path / "root", {"f": old, "empty": ""}))) as rootfs:
        assert rootfs.has_content("/f", b"text") is is_equal
        assert rootfs.has_content("/empty", b"")


def test_the_method_named_has_content_accepts_only_regular_files(tmp_path):
    top = a_directory(tmp_path / "root", {"f": "x"})
    (top / "link").symlink_to("f")
    (top / "dir").mkdir()
    os.mkfifo(top / "fifo")
    with DirectoryRootfs(str(top)) as rootfs:
        for name in ("link", "dir", "fifo"):
            with pytest.raises(RefusedError):
                rootfs.has_content(f"/{name}", b"x")
        with pytest.raises(MissingError):
            rootfs.has_content("/missing", b"x")


def test_a_time_limit_applies_to_reading_and_comparing_files(tmp_path, monkeypatch):
    """No limit on processor time counts the work of the kernel for files that it has to decompress."""
    now, takes, real = 100.0, 0.9, os.read

    def slow(fd, size):
        nonlocal now
        now += takes / 2  # a file is read twice, because the second read finds its end
        return real(fd, size)

    monkeypatch.setattr(oslite.os, "read", slow)
    monkeypatch.setattr(directory_rootfs, "monotonic", lambda: now)
    with DirectoryRootfs(str(a_directory(tmp_path / "root", {"f": "text"}))) as rootfs:
        assert [rootfs.read("/f", 4) for _ in range(9)] == [b"text"] * 9, "without a limit"
        rootfs.limit_reading(2)
        now += 10.0  # the time between two reads does not count
        assert rootfs.read("/f", 4) == b"text"
        assert rootfs.has_content("/f", b"text")
        for call in (lambda: rootfs.read("/f", 4), lambda: rootfs.has_content("/f", b"text")):
            with pytest.raises(SlowError, match=r"^reading the files of '.*' takes longer than 2\.0 s$"):
                call()
        assert rootfs.entry("/f").size == 4
        rootfs.limit_reading(2)
        assert rootfs.read("/f", 4) == b"text"
