"""Data after the end of an archive."""

import bz2
import gzip
import lzma
import shutil
import subprocess
from pathlib import Path

import pytest

from templater.checks.image_scanner import scan_image
from templater.checks.run_checks import audit
from tests.image_archives import END, METADATA, file, header, image

CHECK = "trailing-data"
SECOND = file("metadata.yaml", METADATA) + file("templates/a.tpl", b"evil") + END
PACKERS = {"none": bytes, "gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress}


def found(path: str, rootfs: str | None = None) -> list[tuple[str, str]]:
    scanned = scan_image(path, rootfs=rootfs)
    return [(f.severity.name.lower(), f.message) for f in audit(scanned) if f.check == CHECK]


@pytest.mark.parametrize("pack", PACKERS)
def test_attack_62_a_second_archive_after_the_end_marker_has_high_severity(tmp_path: Path, pack: str) -> None:
    path = tmp_path / "i.tar"
    image(path, behind=SECOND)
    path.write_bytes(PACKERS[pack](path.read_bytes()))
    ((severity, message),) = found(str(path))
    assert severity == "high"
    assert "a second archive or compressed file follows the end marker" in message
    assert "at byte 11264 " in message


@pytest.mark.parametrize("pack", ["gzip", "xz", "bzip2"])
def test_attack_62_a_second_archive_in_its_own_stream_has_high_severity(tmp_path: Path, pack: str) -> None:
    path = tmp_path / "i.tar"
    image(path)
    path.write_bytes(PACKERS[pack](path.read_bytes()) + PACKERS[pack](SECOND))
    assert [severity for severity, _ in found(str(path))] == ["high"]


def test_trailing_bytes_without_a_second_archive_have_medium_severity(
    tmp_path: Path,
) -> None:
    assert [severity for severity, _ in found(image(tmp_path / "i.tar", behind=b"x"))] == ["medium"]


def test_second_file_of_a_split_image_is_read_completely(tmp_path: Path) -> None:
    (tmp_path / "rootfs.tar").write_bytes(header("./etc/x") + END + SECOND)
    assert [severity for severity, _ in found(image(tmp_path / "i.tar"), str(tmp_path / "rootfs.tar"))] == [
        "high"
    ]


@pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="NOT RUN: needs squashfs-tools")
@pytest.mark.parametrize(("behind", "is_found"), [(b"", False), (bytes(70_000), False), (SECOND, True)])
def test_extra_data_after_a_squashfs_file_is_found(tmp_path: Path, behind: bytes, is_found: bool) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "x").write_text("x")
    path = tmp_path / "rootfs.squashfs"
    subprocess.run(["mksquashfs", tmp_path / "root", path, "-quiet"], check=True, capture_output=True)
    with path.open("ab") as file:
        file.write(behind)
    rows = found(image(tmp_path / "i.tar"), str(path))
    assert [severity for severity, _ in rows] == ["medium"] * is_found
    assert all("of the squashfs file" in message for _, message in rows)


@pytest.mark.parametrize("size", [0, 1, 512, 300_000])
def test_zeros_after_the_end_of_an_archive_have_no_finding(tmp_path: Path, size: int) -> None:
    assert not found(image(tmp_path / "i.tar", behind=bytes(size)))


def test_one_archive_in_many_streams_has_no_finding(tmp_path: Path) -> None:
    """pigz, pxz and `image build` write archives with many compressed streams."""
    image(tmp_path / "i.tar", file("rootfs/a", b"x" * 5000))
    data = (tmp_path / "i.tar").read_bytes()
    (tmp_path / "i.tar.gz").write_bytes(
        b"".join(gzip.compress(data[at : at + 700]) for at in range(0, len(data), 700))
    )
    assert not found(str(tmp_path / "i.tar.gz"))


def test_terabyte_hole_after_end_of_an_archive_is_skipped(tmp_path: Path) -> None:
    path = image(tmp_path / "i.tar")
    with open(path, "r+b") as archive:
        archive.truncate(1 << 40)
    assert not found(path)
