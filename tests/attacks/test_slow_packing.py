"""Small images that take long to pack: the limit on processor time must grow with their size."""

import io
import os
import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from templater import limit_option
from templater.cli.run_command_line import main
from templater.model import counters_of_work

METADATA = b"architecture: x86_64\ncreation_date: 1700000000\nproperties: {os: d, release: '1'}\n"
SQUASHFS = ["--format", "split", "--rootfs", "squashfs"]

needs_mksquashfs = pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="NOT RUN: needs mksquashfs")


def archive(path: Path, files: int, data: Callable[[int], bytes] = lambda number: b"") -> str:
    with tarfile.open(path, "w:gz") as file:

        def add(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE) -> None:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.mode = kind, len(data), 0o755
            file.addfile(info, io.BytesIO(data))

        add("metadata.yaml", METADATA)
        add("rootfs", kind=tarfile.DIRTYPE)
        for number in range(files):
            add(f"rootfs/{number:x}", data(number))
    return str(path)


@pytest.fixture(autouse=True)
def _two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_option, "IMAGE_SECONDS", 2)
    monkeypatch.setattr(counters_of_work, "_opened", {})
    monkeypatch.setattr(counters_of_work, "_received", 0)


@pytest.fixture(scope="module")
def many_files(tmp_path_factory: pytest.TempPathFactory) -> str:
    return archive(tmp_path_factory.mktemp("many") / "i.tar.gz", 40_000)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["image", "export", "IMAGE", "NEW"],
        pytest.param(["image", "export", "IMAGE", "NEW", *SQUASHFS], marks=needs_mksquashfs),
        pytest.param(["streams", "add", "NEW", "IMAGE", "--split"], marks=needs_mksquashfs),
    ],
    ids=["xz", "squashfs", "streams"],
)
def test_attack_79_an_archive_of_many_empty_files_is_refused(
    words: list[str], many_files: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """xz needed 22 seconds for 299,000 empty files, and mksquashfs 47 seconds for 60,000."""
    paths = {"IMAGE": many_files, "NEW": f"{tmp_path}/new"}
    assert main([paths.get(word, word) for word in words]) == 4
    assert "the command takes longer than 2 seconds of processor time" in capfd.readouterr().err
    assert words[0] == "streams" or not os.path.exists(f"{tmp_path}/new")


@needs_mksquashfs
@pytest.mark.slow
def test_attack_79_a_directory_of_many_empty_files_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c/rootfs").mkdir(parents=True)
    (tmp_path / "c/metadata.yaml").write_bytes(METADATA)
    for number in range(30_000):
        (tmp_path / f"c/rootfs/{number:x}").touch()
    assert main(["publish", f"{tmp_path}/c", "-o", f"{tmp_path}/new", *SQUASHFS]) == 4
    assert "the command takes longer than 2 seconds of processor time" in capfd.readouterr().err


def test_an_edit_of_an_archive_gets_the_additional_time_for_packing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """xz needs more than a second for a MiB of an image."""
    image, begun = archive(tmp_path / "i.tar.gz", 1), []
    monkeypatch.setattr(counters_of_work, "allow_packing", [lambda: begun.append(True)])
    assert main(["image", "set-property", image, "os=b"]) == 0
    assert begun


@pytest.mark.slow
@pytest.mark.parametrize("source", ["archive", "directory"])
def test_large_image_gets_more_time_for_packing(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test lowers the base limit to one second. xz needs several seconds for 6 MiB of random bytes."""
    monkeypatch.setattr(limit_option, "IMAGE_SECONDS", 1)
    random = os.urandom(6 << 20)
    image = archive(tmp_path / "i.tar.gz", 1, lambda number: random)
    if source == "directory":
        image = f"{tmp_path}/i"
        os.makedirs(f"{image}/rootfs")
        Path(f"{image}/metadata.yaml").write_bytes(METADATA)
        Path(f"{image}/rootfs/data").write_bytes(random)
    assert main(["image", "export", image, f"{tmp_path}/new.tar.xz"]) == 0
    assert os.path.getsize(tmp_path / "new.tar.xz") > len(random)


@pytest.mark.parametrize(
    "words",
    [
        ["image", "set-property", "IMAGE", "a=b"], ["image", "template", "delete", "IMAGE", "a"],
        ["image", "export", "IMAGE", "NEW"], ["unpack", "IMAGE", "NEW"],
        ["streams", "add", "NEW", "IMAGE", "--split"],
    ],
    ids=lambda words: " ".join(words[:2]),
)  # fmt: skip
@pytest.mark.parametrize("is_compressed", [False, True])
def test_attack_79_sparse_image_is_refused_before_its_holes_are_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], is_compressed: bool
) -> None:
    """A sparse image needs 12 kB on the disk, but an edit or export read its zeros for 25 seconds."""
    image = tmp_path / "i.tar"
    with tarfile.open(image, "w:gz" if is_compressed else "w") as file:
        for name, data in (
            ("metadata.yaml", METADATA + b"templates: {/etc/a: {when: [create], template: a}}\n"),
            ("templates/a", b"\n"),
            ("rootfs/etc/motd", b"text"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    os.truncate(image, 20 << 30)
    places = {"IMAGE": str(image), "NEW": f"{tmp_path}/new"}
    begun = time.monotonic()
    assert main([places.get(word, word) for word in words]) == 2
    assert f"'{image}' is sparse: most of its {20 << 30} bytes are in holes" in capfd.readouterr().err
    assert time.monotonic() - begun < 5
    assert image.stat().st_size == 20 << 30
    assert not [path for path in tmp_path.glob("new/**/*") if path.is_file()]
