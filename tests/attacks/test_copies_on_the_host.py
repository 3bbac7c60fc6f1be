"""Files that templater creates on the host: rendered copies, and trees that can be removed again."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from templater.cli.run_command_line import main

TOP = [
    ("metadata.yaml", b"templates:\n  /usr/bin/su: {when: [create], template: a.tpl}\n", {}),
    ("templates/a.tpl", b"mine", {}),
]


def packed(path: Path, *members: tuple[str, bytes, dict[str, str]]) -> str:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, data, pax in (*TOP, *members):
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(data), pax
            archive.addfile(info, io.BytesIO(data))
    return str(path)


@pytest.fixture
def setuid_root(tmp_path: Path) -> str:
    (tmp_path / "rootfs/usr/bin").mkdir(parents=True)
    (tmp_path / "rootfs/usr/bin/su").write_text("theirs")
    (tmp_path / "rootfs/usr/bin/su").chmod(0o6755)
    return str(tmp_path / "rootfs")


def test_a_rendered_copy_of_a_setuid_file_is_not_setuid(tmp_path: Path, setuid_root: str) -> None:
    image = packed(tmp_path / "image.tar")
    assert main(["preview", image, "--rootfs", setuid_root, "-o", str(tmp_path / "tree")]) == 0
    copy = tmp_path / "tree/usr/bin/su"
    assert copy.read_text() == "mine"
    assert copy.stat().st_mode & 0o7777 == 0o755
    assert main(["preview", image, "--rootfs", setuid_root, "-o", str(tmp_path / "tree.tar")]) == 0
    with tarfile.open(tmp_path / "tree.tar") as archive:
        assert archive.getmember("usr/bin/su").mode == 0o755


def test_a_tree_1900_levels_deep_is_refused_and_removed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The tree was too deep for recursive programs, so the partial tree could not be removed either."""
    image = packed(tmp_path / "image.tar", ("rootfs/" + "a/" * 1900 + "f", b"", {}))
    assert main(["unpack", image, str(tmp_path / "c1")]) == 4
    assert "more than 500 directories deep" in capfd.readouterr().err
    assert os.listdir(tmp_path) == ["image.tar"]


@pytest.mark.slow
def test_five_hundred_nested_folders_are_unpacked(tmp_path: Path) -> None:
    image = packed(tmp_path / "image.tar", ("rootfs/" + "a/" * 500 + "f", b"deep", {}))
    assert main(["unpack", image, str(tmp_path / "c1")]) == 0


def test_the_unpack_command_refuses_an_attribute_name_with_a_nul(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = packed(tmp_path / "image.tar", ("rootfs/f", b"x", {"SCHILY.xattr.user.\0a": "v"}))
    assert main(["unpack", image, str(tmp_path / "c1")]) == 3
    assert "NUL" in capfd.readouterr().err


@pytest.mark.parametrize("words", [["apply", "-t", "create"], ["diff"], ["preview"], ["simulate", "start"]])
def test_attack_10_a_rootfs_symlink_in_an_unpacked_image_is_refused(
    tmp_path: Path, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """An image unpacked with tar may hold ``rootfs -> /``: CVE-2026-48749."""
    (tmp_path / "image/templates").mkdir(parents=True)
    (tmp_path / "host").mkdir()
    (tmp_path / "image/metadata.yaml").write_bytes(TOP[0][1])
    (tmp_path / "image/templates/a.tpl").write_text("mine")
    (tmp_path / "image/rootfs").symlink_to(tmp_path / "host")
    image = str(tmp_path / "image")
    option = ["--rootfs"] if words[0] in ("preview", "simulate") else []
    for rootfs in (f"{image}/rootfs", f"{image}/rootfs/"):
        assert main([words[0], image, *option, rootfs, *words[1:]]) == 3
    assert "is a symlink, not a directory" in capfd.readouterr().err
    assert os.listdir(tmp_path / "host") == []


@pytest.mark.slow
def test_the_simulate_command_refuses_a_root_filesystem_1500_levels_deep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    image = packed(tmp_path / "image.tar")
    (tmp_path / "rootfs").mkdir()
    monkeypatch.chdir(tmp_path / "rootfs")
    for _ in range(1500):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(tmp_path)
    assert main(["simulate", image, "start", "--rootfs", str(tmp_path / "rootfs")]) == 4
    assert "more than 500 directories deep" in capfd.readouterr().err
    subprocess.run(["/bin/rm", "-rf", str(tmp_path / "rootfs")], check=True)
