"""Attacks through the name of a compression: case 65, CVE-2026-28384 and CVE-2026-48755."""

import os
from pathlib import Path

import pytest

from templater.cli.run_command_line import main
from templater.image.build import Packing, build
from templater.image.compress import NAMES, compression_named
from templater.image.read_whole_image import open_contents
from templater.model.errors import UsageError
from tests.rootfs_builders import a_directory
from tests.sampling import some_fast

HOSTILE = [
    "xz; touch CANARY", "xz -9", "xz\n", "zstd --output-dir-flat=.", "$(touch CANARY)", "`touch CANARY`", "/bin/sh",
    "../xz", "gzip --suffix=CANARY", "xz --files=/etc/passwd", "XZ", " xz", "", "none;", "bzip3", "squashfs",
]  # fmt: skip


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    top = a_directory(tmp_path / "image", {"rootfs/etc/hosts": "x", "templates/a.tpl": "a"})
    (top / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    return top


@pytest.mark.parametrize("name", HOSTILE)
def test_attack_65_only_listed_compression_names_are_accepted(name: str) -> None:
    with pytest.raises(UsageError, match="unknown compression") as caught:
        compression_named(name)
    assert "xz" in (caught.value.hint or "")


@pytest.mark.parametrize("name", [name for name in HOSTILE if name])  # without a value, the file name decides
@pytest.mark.parametrize(
    "how", some_fast(["build", "split", "squashfs", "export", "publish", "library"], every=3)
)
def test_attack_65_a_bad_compression_name_runs_no_program_and_creates_no_file(
    image: Path, name: str, how: str
) -> None:
    before = sorted(os.listdir(image.parent))
    words = ["--compression", name, "-o", "out"]
    if how == "library":
        contents = open_contents(str(image))
        with pytest.raises(UsageError):
            build(contents, contents.parts(), "out", Packing(compression=name))
    elif how == "export":
        assert main(["image", "export", str(image), "out", "--compression", name]) == 2
    elif how == "publish":
        assert main(["publish", str(image), *words]) == 2
    else:
        more = {"split": ["--format", "split"], "squashfs": ["--format", "split", "--rootfs", "squashfs"]}
        assert main(["image", "build", str(image), *words, *more.get(how, [])]) == 2
    assert sorted(os.listdir(image.parent)) == before


@pytest.mark.parametrize("name", ["xz", "none", "gzip"])
def test_listed_compression_names_are_accepted(image: Path, name: str) -> None:
    assert name in NAMES
    assert main(["image", "build", str(image), "--compression", name, "-o", "out"]) == 0
    assert (image.parent / "out").exists()
