"""Files on the way to a program of a hook that other users can change."""

import os
import sys

import pytest

from templater.hooks.changeable_files import is_changeable, places_on_the_way

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux only")


@pytest.mark.parametrize(
    ("links", "path", "places"),
    [
        ({}, "a/b", ["a", "a/b"]),
        ({}, "./a//b/", ["a", "a/b"]),
        ({"l": "a/b"}, "l/c", ["l", "a", "a/b", "a/b/c"]),
        ({"a/l": "../x"}, "a/l/c", ["a", "a/l", "x", "x/c"]),
        ({"a/l": ".."}, "a/l/c", ["a", "a/l", "c"]),
        ({"a/l": "./b"}, "a/l", ["a", "a/l", "a/b"]),
    ],
)
def test_directories_and_links_of_a_path_appear_in_order(tmp_path, links, path, places):
    (tmp_path / "a/b").mkdir(parents=True)
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    found = list(places_on_the_way(f"{tmp_path}/{path}"))
    assert found[0] == "/" and f"{tmp_path}" in found
    assert [os.path.relpath(place, tmp_path) for place in found if place.startswith(f"{tmp_path}/")] == places


def test_an_absolute_link_is_followed_from_the_root_directory(tmp_path):
    (tmp_path / "l").symlink_to("/usr/bin")
    found = list(places_on_the_way(f"{tmp_path}/l/x"))
    assert found[-4:] == [f"{tmp_path}/l", "/usr", "/usr/bin", "/usr/bin/x"]


def test_a_loop_of_links_produces_a_finite_list(tmp_path):
    (tmp_path / "l").symlink_to("l")
    assert len(list(places_on_the_way(f"{tmp_path}/l"))) < 1100


@pytest.mark.parametrize(
    ("mode", "found"), [(0o755, False), (0o700, False), (0o757, True), (0o777, True), (0o1777, False)]
)
def test_a_world_writable_directory_without_sticky_bit_is_changeable(tmp_path, mode, found):
    place = tmp_path / "d"
    place.mkdir()
    place.chmod(mode)
    assert is_changeable(str(place)) is found


def test_files_in_a_world_writable_directory_are_changeable(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "file").write_text("")
    (folder / "link").symlink_to("file")
    assert not is_changeable(f"{folder}/file") and not is_changeable(f"{folder}/link")
    folder.chmod(0o1777)
    assert is_changeable(f"{folder}/file") and is_changeable(f"{folder}/link")
    assert is_changeable(f"{folder}/none")
    folder.chmod(0o755)
    (folder / "file").chmod(0o646)
    assert is_changeable(f"{folder}/file")
