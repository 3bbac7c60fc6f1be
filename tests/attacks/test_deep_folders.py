"""All commands share one limit for nested folders: a packed image can be unpacked and vice versa."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from templater.cli.run_command_line import main

METADATA = b"architecture: x86_64\ncreation_date: 1\n"
MOST = 500


def tarball(path: Path, *names: str, metadata: bool = True) -> Path:
    with tarfile.open(path, "w") as tar:
        for name in names:
            member = tarfile.TarInfo(name.rstrip("/"))
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            tar.addfile(member, io.BytesIO())
        if metadata:
            member = tarfile.TarInfo("metadata.yaml")
            member.size = len(METADATA)
            tar.addfile(member, io.BytesIO(METADATA))
    return path


def in_folder(path: Path, depth: int, kind: str) -> Path:
    path.mkdir()
    (path / "metadata.yaml").write_bytes(METADATA)
    (path / "rootfs").mkdir()
    place = os.open(path / "rootfs", os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=place)
        inner = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inner
    if kind == "file":
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=place))
    else:
        os.mkdir("f", dir_fd=place)
    os.close(place)
    return path


@pytest.fixture(params=["folder", pytest.param("file", marks=pytest.mark.slow)])
def kind(request):
    return request.param


@pytest.fixture(params=["unified", "split", pytest.param("directory", marks=pytest.mark.slow)])
def image(request, tmp_path, kind):
    """Return the arguments for an image with ``depth`` nested directories in its root filesystem."""

    def make(depth: int) -> list[str]:
        name = "d/" * depth + ("f" if kind == "file" else "f/")
        if request.param == "unified":
            return [str(tarball(tmp_path / "image.tar", "rootfs/" + name))]
        if request.param == "split":
            first = tarball(tmp_path / "meta.tar")
            return [str(first), str(tarball(tmp_path / "rootfs.tar", "./" + name, metadata=False))]
        return [str(in_folder(tmp_path / "image", depth, kind))]

    yield make
    subprocess.run(["rm", "-rf", tmp_path / "image", tmp_path / "c1"], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [pytest.param(MOST - 1, marks=pytest.mark.slow), MOST, MOST + 1])
def test_the_unpack_and_export_commands_have_the_same_depth_limit(image, tmp_path, depth, capfd):
    words = image(depth)
    codes = [
        main(["unpack", *words, str(tmp_path / "c1")]),
        main(["image", "export", *words, str(tmp_path / "again.tar")]),
        main(["image", "export", *words, str(tmp_path / "halves"), "--format", "split"]),
    ]
    said = capfd.readouterr().err
    assert codes == [0 if depth <= MOST else 4] * 3, said
    assert (f"more than {MOST} directories deep" in said) == (depth > MOST)


@pytest.mark.parametrize("form", ["unified", "split"])
@pytest.mark.slow
def test_an_exported_image_can_be_unpacked(image, tmp_path, form):
    words = image(MOST)
    assert main(["image", "export", *words, str(tmp_path / "again"), "--format", form]) == 0
    parts = ["again", "again.root"] if form == "split" else ["again"]
    assert main(["unpack", *[str(tmp_path / part) for part in parts], str(tmp_path / "c1")]) == 0


@pytest.mark.parametrize("name", ["templates/d/x.tpl", "templates/d/", "templates/a/b/c"])
def test_a_folder_among_the_templates_gives_a_clear_error(tmp_path, name, capfd):
    image = str(tarball(tmp_path / "image.tar", "rootfs/", name))
    for words in (
        ["unpack", image, str(tmp_path / "c1")],
        ["image", "export", image, str(tmp_path / "x.tar")],
    ):
        assert main(words) == 3
        said = capfd.readouterr().err
        assert (
            f"'{name.rstrip('/')}' {'is' if name.endswith('/') else 'is in'} a directory below 'templates'"
            in said
        )
        assert "put all templates directly" in said
    assert not (tmp_path / "c1").exists()
