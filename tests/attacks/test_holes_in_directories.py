"""Sparse files in a directory that is packed: a container's user can make any number and size of holes."""

import os
import shutil
from pathlib import Path

import pytest

from templater.image.build import Packing, build
from templater.image.limits import Limits
from templater.image.read_whole_image import open_contents
from templater.image.tar_reader import Member, open_archive
from templater.image.tar_writer import Format, TarWriter
from templater.model.entry import FILE
from templater.model.errors import LimitError
from tests.processor_time import ends_within

FORMATS: list[Format] = ["pax", "gnu"]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "i/rootfs").mkdir(parents=True)
    (tmp_path / "i/metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    return tmp_path / "i"


def sparse_file(path: Path, pieces: int, size: int = 0) -> None:
    with open(path, "wb") as file:
        for number in range(pieces):
            os.pwrite(file.fileno(), b"x", 8192 * number)
        file.truncate(size or 8192 * pieces)


def packed(image: Path, packing: Packing, limits: Limits) -> str:
    contents = open_contents(str(image), limits=limits)
    target = str(image.parent / "packed")
    return build(contents, contents.parts(), target, packing, replace=True).files[-1]


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_attack_61_a_fragmented_sparse_file_is_packed_in_linear_time(
    format: Format,
) -> None:
    """A file with 400,000 data blocks took 55 seconds in the gnu format."""
    pieces = tuple((8192 * number, 512) for number in range(200_000))
    written: list[int] = []
    writer = TarWriter(lambda data: written.append(len(data)), format, 1 << 30)
    with ends_within(5):
        writer.add(Member("f", FILE, size=8192 * 200_000, sparse=pieces))
        writer.close()
    assert sum(written) > 200_000 * 520


@pytest.mark.parametrize("format", FORMATS)
def test_attack_61_a_sparse_file_with_too_many_holes_is_refused(format: Format, image: Path) -> None:
    limits = Limits(header_bytes=1024)
    packing = Packing(compression="none", tar=format)
    outcomes = set()
    for pieces in (40, 41, 42, 43, 75, 80, 90, 100, 120, 200):
        sparse_file(image / "rootfs/f", pieces)
        try:
            path = packed(image, packing, limits)
        except LimitError as error:
            assert error.message == (
                f"'{'' if pieces == 200 else 'rootfs/'}f' is a sparse file with too many holes"
            )
            assert error.hint.endswith("--limit header=…")
            outcomes.add("refused")
            continue
        outcomes.add("written")
        found = [
            archive.read(member, 1 << 30)
            for archive in [open_archive(path, limits)]
            for member in archive
            if member.name == "rootfs/f"
        ]
        assert found == [(image / "rootfs/f").read_bytes()]
    assert outcomes == {"written", "refused"}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="NOT RUN: needs squashfs-tools")
def test_attack_61_huge_holes_are_not_passed_to_mksquashfs_as_zeros(image: Path) -> None:
    """A hole of 20 GiB took 20 seconds, and a hole can have terabytes."""
    packing = Packing("split", "gzip", rootfs="squashfs")
    sparse_file(image / "rootfs/f", 1, 8 << 40)
    with pytest.raises(
        LimitError, match=r"holes of at least 8796093018112 bytes, but all files .* 4096"
    ) as it:
        packed(image, packing, Limits())
    assert it.value.hint is not None
    assert it.value.hint.endswith("--limit ratio=…")
    # the holes are measured against the data of all files, also of those that follow
    sparse_file(image / "rootfs/f", 1, 4 << 20)
    few = Limits(ratio_from=1 << 20, ratio=100)
    with pytest.raises(LimitError):
        packed(image, packing, few)
    (image / "rootfs/z").write_bytes(bytes(40_000))
    assert packed(image, packing, few).endswith(".root")
    (image / "rootfs/z").unlink()
    assert packed(image, packing, Limits(ratio_from=1 << 20, ratio=2000)).endswith(".root")
    assert packed(image, packing, Limits()).endswith(".root")
    sparse_file(image / "rootfs/f", 0, 4 << 20)  # no data at all
    with pytest.raises(LimitError):
        packed(image, packing, few)
    assert packed(image, packing, Limits(ratio_from=1 << 20, ratio=2000)).endswith(".root")
