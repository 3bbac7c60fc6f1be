"""Archives as three programs read them: Go's archive/tar (as in the daemons), GNU tar, and templater."""

import base64
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from templater.image.tar_reader import open_archive
from templater.model.errors import TemplaterError
from tests.attacks.test_hidden_members import header, made_up, padded
from tests.differential.oracle import Oracle, build

SOURCE = Path(__file__).parent / "tar_oracle"
#: times of the format star, well formed and malformed, and its longest prefix
TIMES, MALFORMED, LONG = b"00000000000 00000000000 ", b"0zzzzzzzzzz 00000000000 ", b"d/" * 65 + b"d"
ARCHIVES = 2000

#: The first run compiles a Go program for half a minute.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    if shutil.which("go") is None or shutil.which("tar") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("golang-go and tar would be needed")
    with Oracle(build(SOURCE)) as running:
        yield running


def read_by_go(oracle: Oracle, data: bytes, *, is_global: bool = False) -> list[tuple[bytes, bytes]] | str:
    """Return the names and contents of the members, or else of the global headers, or the error."""
    (answer,) = oracle.ask([{"data": base64.b64encode(data).decode()}])
    decode = base64.b64decode
    found = [each for each in answer["members"] or () if each["global"] == is_global]
    return answer["error"] or [(decode(each["name"]), decode(each["data"] or "")) for each in found]


def read_by_gnu_tar(path: Path) -> list[bytes] | str:
    """Return the names of the members, or the first line of the error."""
    words = ["tar", "--quoting-style=literal", "-tPf", path]
    run = subprocess.run(words, capture_output=True, check=False, env=os.environ | {"LC_ALL": "C"})
    return run.stderr.decode().splitlines()[0] if run.returncode else run.stdout.splitlines()


def read_by_templater(path: Path) -> list[tuple[bytes, bytes]] | None:
    """Return the names and contents of the members, or None if templater refuses the archive."""
    try:
        archive = open_archive(str(path))
        found = [
            (os.fsencode(member.name), archive.read(member, 1 << 20) if member.stored else b"")
            for member in archive
        ]
        archive.finish()
    except TemplaterError:
        return None
    return found


def without_slash(members: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name.rstrip(b"/"), data) for name, data in members]


@pytest.mark.parametrize(
    ("prefix", "trailer", "by_gnu_tar", "by_go"),
    [
        (b"d", b"", [b"d/f"], [b"d/f"]),
        (b"d", b"tar\0", [b"d/f"], [b"d/f"]),
        (LONG, b"tar\0", [LONG + b"/f"], [LONG + b"/f"]),
        (LONG + b"/x", b"", [LONG + b"/x/f"], [LONG + b"/x/f"]),
        (LONG + b"/x", b"tar\0", [LONG + b"/x/f"], "archive/tar: invalid tar header"),
        (LONG + TIMES, b"tar\0", [LONG + TIMES + b"/f"], [LONG + b"/f"]),
        (b"d".ljust(131, b"\0") + TIMES, b"tar\0", [b"d/f"], [b"d/f"]),
        (b"d".ljust(131, b"\0") + MALFORMED, b"tar\0", "tar: Archive contains '0zzzzzzzzzz ' where numeric time_t value expected", "archive/tar: invalid tar header"),
        (b"d".ljust(131, b"\0") + MALFORMED, b"", "tar: Archive contains '0zzzzzzzzzz ' where numeric time_t value expected", [b"d/f"]),
    ],
)  # fmt: skip
def test_star_headers_are_refused_if_tar_and_go_disagree(
    tmp_path, oracle, prefix, trailer, by_gnu_tar, by_go
):
    path = tmp_path / "i.tar"
    path.write_bytes(header(b"f", prefix=prefix, trailer=trailer) + bytes(1024))
    answer = read_by_go(oracle, path.read_bytes())
    assert (answer if isinstance(answer, str) else [name for name, _ in answer]) == by_go
    assert read_by_gnu_tar(path) == by_gnu_tar
    mine = read_by_templater(path)
    if TIMES in prefix or MALFORMED in prefix or by_gnu_tar != by_go:
        assert mine is None
    else:
        assert mine == [(by_go[0], b"")]


@pytest.mark.parametrize(
    ("end", "by_go"),
    [
        (bytes(512), ""), (bytes(513), "unexpected EOF"), (bytes(1023), "unexpected EOF"), (bytes(1024), ""), (bytes(1025), ""),
        (bytes(1024) + header(b"g"), ""), (bytes(512) + header(b"g"), "archive/tar: invalid tar header"),
        (bytes(512) + b"x", "unexpected EOF"),
    ],
)  # fmt: skip
def test_an_end_mark_is_refused_if_the_go_library_refuses_it(tmp_path, oracle, end, by_go):
    """GNU tar only warns. The daemons read a metadata tarball to its end with Go."""
    path = tmp_path / "i.tar"
    path.write_bytes(header(b"f") + end)
    assert read_by_gnu_tar(path) == [b"f"]
    assert read_by_go(oracle, path.read_bytes()) == (by_go or [(b"f", b"")])
    assert read_by_templater(path) == (None if by_go else [(b"f", b"")])


@pytest.mark.parametrize(
    "name", [b"metadata.yaml", b"./metadata.yaml", b"rootfs/a", b"./rootfs/a", b"rootfs.img", b"a"]
)
def test_global_headers_named_like_an_image_member_are_refused(tmp_path, oracle, name):
    """The import of LXD fails with the error: Cannot read non-regular file "metadata.yaml"."""
    path = tmp_path / "i.tar"
    path.write_bytes(header(name, 13, b"g") + padded(b"13 comment=x\n") + header(b"f") + bytes(1024))
    assert read_by_gnu_tar(path) == [b"f"]
    assert read_by_go(oracle, path.read_bytes(), is_global=True) == [(name, b"")]
    assert read_by_templater(path) == ([(b"f", b"")] if name == b"a" else None)


def test_templater_and_go_read_equal_members_from_random_archives(tmp_path, oracle):
    choose, compared = random.Random(20261201), 0
    path = tmp_path / "i.tar"
    for _ in range(ARCHIVES):
        data = header(b"first", 1) + padded(b"z") + made_up(choose)
        path.write_bytes(data)
        mine = read_by_templater(path)
        if mine is not None:
            compared += 1
            go = read_by_go(oracle, data)
            assert not isinstance(go, str), go
            assert without_slash(mine) == without_slash(go)
    assert compared > ARCHIVES / 20
