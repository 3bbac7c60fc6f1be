"""The configuration of an LXC container: quoting, mounts, layers and id maps as LXC reads them."""

import os
import sys

import pytest

from templater.hooks.lxc_config import (
    has_index,
    ids_in,
    is_directory,
    layers_of,
    mount_points,
    of_other_directory,
    overlay_options,
    settings,
    without_prefix,
)
from templater.model.errors import InputError
from templater.rootfs.id_map import IDENTITY, IdMap
from templater.rootfs.paths import UnmappedError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("lxc.a = x", "x"), ("lxc.a=x y ", "x y"), ('lxc.a = "x y"', "x y"), ("lxc.a = 'x'", "x"), ("lxc.a = ''", ""),
        ("lxc.a = '", "'"), ("lxc.a = \"x'", "\"x'"), ("lxc.a = b=c", "b=c"), ("lxc.a =", ""), ("lxc.a", None),
        ("# lxc.a = x", None), ("blxc.a = x", None),
    ],
)  # fmt: skip
def test_a_line_of_a_configuration_is_read_as_lxc_reads_it(tmp_path, line, value):
    (tmp_path / "config").write_text(line + "\n")
    assert list(settings(f"{tmp_path}/config")) == ([] if value is None else [("lxc.a", value)])


@pytest.mark.parametrize(
    "text", ["\rlxc.a = x\n", "lxc.a = x\ry\n", "# \r\nlxc.a = x\n\0\0", "lxc.a\0 = x\n"]
)
def test_a_nul_or_carriage_return_inside_lines_is_refused(tmp_path, text):
    """`lxc-info -c` of LXC 6.0.4 shows a key after a carriage return, but no key after a NUL."""
    (tmp_path / "config").write_text(text, newline="")
    with pytest.raises(InputError) as caught:
        list(settings(f"{tmp_path}/config"))
    assert caught.value.message == (
        f"'{tmp_path}/config' contains a NUL, or a carriage return inside of a line"
    )


def test_carriage_returns_at_the_end_of_lines_are_ignored(tmp_path):
    (tmp_path / "config").write_text("lxc.a = x\r\n\r\nlxc.b =\ty\r\r\nlxc.c = z\r", newline="")
    assert list(settings(f"{tmp_path}/config")) == [("lxc.a", "x"), ("lxc.b", "y"), ("lxc.c", "z")]


@pytest.mark.parametrize(
    ("value", "points"),
    [
        ("proc proc proc nodev 0 0", ("/proc",)),
        ("a\tb/ c", ("/b",)),
        ("/dev/a  mnt//x\\040y none bind", ("/mnt/x y",)),
        ("a t\\011n\\012b\\134", ("/t\tn\nb\\",)),
        ("a /c/rootfs/opt", ("/opt",)),
        ("a /run/lxc//c/rootfs/opt/", ("/opt",)),
        ("a /other/opt", ()),
        ("a", ()),
    ],
)
def test_mount_points_of_entries_are_paths_in_the_container(value, points):
    assert (
        mount_points([("lxc.mount.entry", value), ("lxc.mount.auto", "a /c/rootfs/b")], ("", "/c/rootfs"))
        == points
    )


def test_an_empty_mount_entry_removes_the_entries_before_it():
    found = [("lxc.mount.entry", value) for value in ("a b", "c d", "", "e f", "g h")]
    assert mount_points(found, ()) == ("/f", "/h")
    assert mount_points([*found, ("lxc.mount.auto", "")], ()) == ("/f", "/h")


def test_only_the_upper_directory_of_an_overlay_may_be_missing(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    a, b, new = (f"{tmp_path}/{name}" for name in ("a", "b", "new"))
    assert layers_of(f"{a}:{b}") == (a, b)
    assert layers_of(f"{a}/:{b}/.:{new}/") == (a, b, new)
    for path in (
        a,
        f"{a}:b",
        f"b:{a}",
        f"{new}:{a}",
        f"{a}:{new}:{b}",
        f"{a}:{tmp_path}/file",
        f"{tmp_path}/file:{a}",
    ):
        assert layers_of(path) == ()


def test_only_an_existing_absolute_path_is_considered_a_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "file").touch()
    assert is_directory(f"{tmp_path}/a")
    assert (
        not is_directory("a") and not is_directory(f"{tmp_path}/file") and not is_directory(f"{tmp_path}/b")
    )


@pytest.mark.parametrize("kind", ["dir", "overlay", "overlayfs", "btrfs", "zfs", "lvm", "loop", "nbd", "rbd"])
def test_the_storage_prefix_is_removed_from_a_rootfs_path(kind):
    assert without_prefix(f"{kind}:/x:y") == "/x:y"
    assert without_prefix(f"x{kind}:/x") == f"x{kind}:/x"


U, G = ("lxc.idmap", "u 0 1000 10"), ("lxc.idmap", "g 0 2000 10")
MOUNTED = ("lxc.rootfs.options", "noatime,idmap=container")


@pytest.mark.parametrize(
    ("found", "ids"),
    [
        ([], None), ([U], None), ([G], None), ([U, G, ("lxc.idmap", "")], None), ([U, G, ("lxc.uts.name", "u 0")], 1),
        ([MOUNTED], IDENTITY), ([U, MOUNTED], IDENTITY), ([U, G, MOUNTED, ("lxc.rootfs.options", "noatime")], 1),
        ([("lxc.idmap", ""), U, G], 1),
    ],
)  # fmt: skip
def test_an_id_map_must_contain_user_and_group_ids(found, ids):
    made = ids_in(found, "config")
    assert made is ids if ids in (None, IDENTITY) else made.on_disk(3, 4) == (1003, 2004)


def test_an_idmapped_mount_refuses_ids_outside_the_map():
    """A rule with an owner outside of the map made a file that belonged to another container's root."""
    made = ids_in([U, MOUNTED, G], "config")
    assert made.on_disk(3, 4) == (3, 4)
    with pytest.raises(UnmappedError):
        made.on_disk(10, 0)
    with pytest.raises(UnmappedError):
        made.on_disk(0, 1000)


USER_NAMESPACE = ["redirect_dir=nofollow", "metacopy=off"]


@pytest.mark.parametrize(
    ("options", "on_the_host", "in_a_namespace"),
    [
        ([], [], USER_NAMESPACE),
        (["userxattr"], ["userxattr"], ["userxattr", *USER_NAMESPACE]),
        (["ro,userxattr,noatime", "metacopy=on,ro"], ["metacopy=on"], USER_NAMESPACE),
        (["redirect_dir=on,volatile,index=on"], ["redirect_dir=on"], USER_NAMESPACE),
        (["userxattr", ""], [], USER_NAMESPACE),
    ],
)
def test_an_overlay_contains_the_same_files_as_the_container(options, on_the_host, in_a_namespace):
    """With the default metacopy=on, a container with an id map saw zeros after a failed start."""
    found = [("lxc.rootfs.options", value) for value in options]
    assert overlay_options(found) == on_the_host
    assert overlay_options([U, G, *found]) == in_a_namespace
    assert overlay_options([U, G, ("lxc.idmap", ""), *found]) == on_the_host


@pytest.mark.parametrize(
    ("options", "result"),
    [
        ([], None), (["userxattr,ro"], None), (["ro,index=on"], True), (["index=on", "ro"], None),
        (["index=on,index=off"], False), (["index=off,nfs_export=on"], True),
    ],
)  # fmt: skip
def test_the_last_line_decides_about_the_overlay_index(options, result):
    assert has_index([("lxc.rootfs.options", value) for value in options]) is result


@pytest.mark.parametrize("value", ["x 0 1 1", "u 0 1", "u 0 1 1 1", "u"])
def test_an_invalid_range_of_an_id_map_is_quoted(value):
    with pytest.raises(InputError) as refused:
        ids_in([("lxc.idmap", value)], "/c/config")
    assert refused.value.message == f"'/c/config' has an invalid lxc.idmap '{value}'"


def test_root_ownership_of_the_directory_disables_the_id_map(tmp_path):
    ids = IdMap(((0, 1000, 10),), ((0, 1000, 10),))
    assert of_other_directory(ids, "/proc/1") is (None if os.stat("/proc/1").st_uid == 0 else ids)
    assert of_other_directory(ids, f"{tmp_path}/none") is ids
    assert of_other_directory(None, f"{tmp_path}/none") is None
