"""Checks of paths, with the exact limits of Linux."""

import pytest

from templater.model.errors import RefusedError
from templater.rootfs.paths import components


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/a",
        "/..a/.b./a..",
        "/" + "a" * 255,
        "/" + "/".join(["a" * 255] * 15) + "/" + "b" * 254,
        "/é" * 1365,
        "/a/" + "é" * 127 + "/" + "b" * 255,
        "/\udcff",
    ],
)
def test_a_valid_path_is_split_into_its_components(path: str) -> None:
    assert components(path) == [name for name in path.split("/") if name]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "'' is not an absolute path"),
        ("a", "'a' is not an absolute path"),
        ("/a/", "'/a/' is not a cleaned path: it has a component ''"),
        ("/a//b", "'/a//b' is not a cleaned path: it has a component ''"),
        ("/.", "'/.' is not a cleaned path: it has a component '.'"),
        ("/a/./b", "'/a/./b' is not a cleaned path: it has a component '.'"),
        ("/a/../b", "'/a/../b' is not a cleaned path: it has a component '..'"),
        ("/..", "'/..' is not a cleaned path: it has a component '..'"),
        ("/" + "a" * 255 + "/.", f"'/{'a' * 255}/.' is not a cleaned path: it has a component '.'"),
        ("/a\0", "'/a\\x00' contains a NUL"),
        ("/" + "a" * 256, f"the name '{'a' * 40}…' is longer than 255 bytes"),
        ("/a/" + "b" * 256, f"the name '{'b' * 40}…' is longer than 255 bytes"),
        ("/" + "b" * 256 + "/a", f"the name '{'b' * 40}…' is longer than 255 bytes"),
        ("/" + "a" * 200 + "/" + "b" * 256 + "/c", f"the name '{'b' * 40}…' is longer than 255 bytes"),
        ("/a" + "é" * 128, f"the name 'a{'é' * 39}…' is longer than 255 bytes"),
        ("/" + "a/" * 2047 + "b", f"'{('/a' * 20)}…' is longer than 4095 bytes"),
        ("/\ud800", "'/\\ud800' has characters that file names can't contain"),
    ],
)
def test_an_invalid_path_is_an_error(path: str, said: str) -> None:
    with pytest.raises(RefusedError) as caught:
        components(path)
    assert caught.value.message == said
