"""Where the mounts of a runtime lie, after it has followed the links of the root filesystem."""

import sys

import pytest

from templater.hooks.hidden_targets import real_places
from templater.model.errors import RefusedError
from templater.rootfs.confined import Root

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")


@pytest.mark.parametrize(
    ("mount", "place"),
    [
        ("/a/b", "/a/b"), ("/none/x", "/none/x"), ("/inside/x", "/a/b/x"), ("/a/above/y", "/c/y"), ("/root", "/a/b"),
        ("/top/x", "/c/x"), ("/chain", "/a/b"), ("/dots", "/a"), ("/self", "/"), ("/a/b/file/x", "/a/b/file/x"),
    ],
)  # fmt: skip
def test_a_mount_lies_where_the_links_of_the_root_filesystem_lead(tmp_path, mount, place):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").touch()
    for name, target in (
        ("inside", "a/b"), ("a/above", "../c"), ("root", "/a/./b/"), ("top", "../../c"), ("chain", "inside"),
        ("dots", "a/b/.."), ("self", "/"),
    ):  # fmt: skip
        (tmp_path / name).symlink_to(target)
    with Root(str(tmp_path)) as root:
        assert real_places((mount, "/odd\0path"), root) == {place: mount}


def test_a_mount_behind_a_loop_of_links_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with Root(str(tmp_path)) as root, pytest.raises(RefusedError) as refused:
        real_places(("/loop",), root)
    assert refused.value.message == "the container's mount at '/loop' leads through too many links"
