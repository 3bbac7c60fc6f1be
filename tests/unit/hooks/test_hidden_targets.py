"""Mount points of a runtime. The runtime follows links of the root filesystem in their paths."""

import sys
from types import SimpleNamespace

import pytest

from templater.hooks.hidden_targets import real_places, refuse_hidden
from templater.hooks.run import hidden_places
from templater.model.errors import RefusedError
from templater.model.plan import CREATE, KEEP, UPDATE, WRITE, Change
from templater.rootfs.confined_root import Root

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")


@pytest.mark.parametrize(
    ("mount", "place"),
    [
        ("/a/b", "/a/b"), ("/none/x", "/none/x"), ("/inside/x", "/a/b/x"), ("/a/above/y", "/c/y"), ("/root", "/a/b"),
        ("/top/x", "/c/x"), ("/chain", "/a/b"), ("/dots", "/a"), ("/self", "/"), ("/a/b/file/x", "/a/b/file/x"),
        ("/", "/"), ("//", "/"),
    ],
)  # fmt: skip
def test_mount_paths_are_resolved_inside_the_root_filesystem(tmp_path, mount, place):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").touch()
    for name, target in (
        ("inside", "a/b"), ("a/above", "../c"), ("root", "/a/./b/"), ("top", "../../c"), ("chain", "inside"),
        ("dots", "a/b/.."), ("self", "/"),
    ):  # fmt: skip
        (tmp_path / name).symlink_to(target)
    with Root(str(tmp_path)) as root:
        assert real_places((mount, "/odd\0path"), root) == {place: mount}


@pytest.mark.parametrize(
    ("mounts", "places"),
    [
        (["/srv", "/srv/lnk/f"], ["/srv", "/srv/lnk/f"]),
        (["/srv/lnk/f", "/srv"], ["/etc/f", "/srv"]),
        (["/srv", "/srv/a/lnk/f"], ["/srv", "/srv/a/lnk/f"]),
        (["/srv", "/to", "/srv/lnk/f"], ["/srv", "/etc/f"]),
        (["/srv", "/srv/volume", "/srv/volume/lnk/f"], ["/srv", "/srv/volume", "/etc/f"]),
        (["/volume", "/volume/lnk/f"], ["/volume", "/etc/f"]),
        (["/srv", "/to/lnk/f"], ["/srv", "/srv/lnk/f"]),
        (["/srv", "/up/lnk/f"], ["/srv", "/etc/f"]),
        (["/", "/srv/lnk/f"], ["/", "/srv/lnk/f"]),
    ],
)
def test_a_link_is_not_followed_if_an_earlier_mount_hides_it(tmp_path, mounts, places):
    """The hook followed a hidden link, took the file's path for a mount point, and skipped the file."""
    for folder in ("etc", "srv/a", "srv/volume", "volume"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("srv/lnk", "srv/a/lnk", "srv/volume/lnk", "volume/lnk"):
        (tmp_path / name).symlink_to("/etc")
    (tmp_path / "to").symlink_to("srv")
    (tmp_path / "up").symlink_to("srv/x/../../volume")
    with Root(str(tmp_path)) as root:
        assert list(real_places(mounts, root, ("/", "/srv"))) == places


def test_a_link_loop_in_a_mount_path_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with Root(str(tmp_path)) as root, pytest.raises(RefusedError) as refused:
        real_places(("/loop",), root)
    assert refused.value.message == "the container's mount at '/loop' leads through too many links"


def change_of(real, action=CREATE):
    made = Change(SimpleNamespace(), "start", "/shown", action)
    made.real = real
    return made


@pytest.mark.parametrize("mount", ["/", "//", "/self"])
def test_a_mount_over_the_root_directory_hides_every_file(tmp_path, mount):
    """runc mounts a volume over the root directory, and this volume hid the file from the container."""
    (tmp_path / "self").symlink_to("/")
    with Root(str(tmp_path)) as root, pytest.raises(RefusedError, match=f"mount at '{mount}' would hide"):
        refuse_hidden(change_of("/x"), real_places((mount,), root), "do it")


@pytest.mark.parametrize(
    ("real", "mount"),
    [("/a/b/c", "/m"), ("/a/b/c/d/e", "/m"), ("/a/b", None), ("/a/bc", None), ("/x/c", None), ("/o/x", "/p")],
)
def test_a_file_hidden_by_a_mount_is_refused(real, mount):
    places = {"/a/b": "/m", "/o": "/p"}
    if mount is None:
        refuse_hidden(change_of(real), places, "do it")
        return
    with pytest.raises(RefusedError) as refused:
        refuse_hidden(change_of(real), places, "do it")
    assert refused.value.message.startswith(f"the container's mount at '{mount}' would hide '/shown'")
    assert refused.value.hint == "remove the mount or the rule, or do it"


@pytest.mark.parametrize(
    ("mounts", "changes", "found"),
    [
        ((), [("/a/b", CREATE)], ()),
        (("/m",), [("/x", KEEP)], ()),
        (("/m",), [("/x", KEEP), ("/y", UPDATE)], {"/m": "/m"}),
        (("/m",), [("/m/x", KEEP)], None),
        (("/m",), [("/m/x", CREATE)], None),
        (("/m",), [("/m", WRITE)], {"/m": "/m"}),
    ],
)
def test_a_plan_to_write_below_runtime_mounts_is_refused(mounts, changes, found, tmp_path):
    plan = SimpleNamespace(changes=[change_of(*each) for each in changes])
    request = SimpleNamespace(mounts=mounts, empty_mounts=(), mounts_hint="hint")
    with Root(str(tmp_path)) as root:
        if found is not None:
            assert hidden_places(plan, SimpleNamespace(root=root), request) == found
            return
        with pytest.raises(RefusedError) as refused:
            hidden_places(plan, SimpleNamespace(root=root), request)
    assert refused.value.hint == "remove the mount or the rule, or hint"
