"""The disk of a virtual machine's image."""

import itertools
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from templater.checks.image_scanner import scan_image
from templater.checks.run_checks import audit
from tests.checks.builders import an_image, observed, severities
from tests.image_archives import METADATA, file, header, image, padded, pax

CHECK = "disk-image"
PLAIN = b"QFI\xfb\0\0\0\3" + bytes(4000)


def qcow2(backing: bytes = b"", features: int = 0) -> bytes:
    """A header as docs/interop/qcow2.txt of QEMU describes it."""
    place = 200 if backing else 0
    head = b"QFI\xfb\0\0\0\3" + place.to_bytes(8, "big") + len(backing).to_bytes(4, "big")
    return (head.ljust(72, b"\0") + features.to_bytes(8, "big")).ljust(200, b"\0") + backing + bytes(4000)


def sparse(name: str, data: bytes, cuts: tuple[int, ...]) -> bytes:
    """A sparse member of pax format 1.0 with a piece between each two cuts; pieces of zeros are holes."""
    ends = [0, *cuts, len(data)]
    pieces = [(a, data[a:b]) for a, b in itertools.pairwise(ends) if any(data[a:b])] + [(len(data), b"")]
    numbers = f"{len(pieces)}\n" + "".join(f"{at}\n{len(piece)}\n" for at, piece in pieces)
    stored = padded(numbers.encode()) + b"".join(piece for _, piece in pieces)
    size = str(len(data)).encode()
    records = {"GNU.sparse.major": b"1", "GNU.sparse.minor": b"0", "GNU.sparse.realsize": size}
    return pax({**records, "GNU.sparse.name": name.encode()}) + file("sparse", stored)


def test_a_finding_of_critical_severity_mentions_the_backing_file():
    found = observed(CHECK, an_image(heads={"rootfs.img": qcow2(b"/etc/shadow")}))
    ((severity, place, message),) = found
    assert (severity, place) == ("critical", "rootfs.img")
    assert "the backing file '/etc/shadow'" in message


def test_an_external_data_file_gives_a_finding_of_critical_severity():
    assert severities(CHECK, an_image(heads={"rootfs.img": qcow2(features=4)})) == ["critical"]


def test_vmdk_disk_has_a_finding_of_high_severity():
    head = b"# Disk DescriptorFile\nRW 1 FLAT /dev/sda 0\n"
    assert severities(CHECK, an_image(heads={"rootfs.img": head})) == ["high"]


def test_an_ordinary_disk_has_no_finding():
    assert not observed(CHECK, an_image(heads={"rootfs.img": PLAIN}))


@pytest.mark.parametrize(("size", "found"), [(71, ["high"]), (72, [])])
def test_a_disk_with_an_incomplete_header_gives_a_high_severity_finding(size, found):
    assert severities(CHECK, an_image(heads={"rootfs.img": PLAIN[:size]})) == found


@pytest.mark.parametrize("form", ["unified", "directory", "split"])
def test_a_virtual_machine_disk_is_checked_in_every_image_format(tmp_path: Path, form: str):
    disk = qcow2(b"/etc/shadow")
    rootfs = None
    if form == "unified":
        path = image(tmp_path / "i.tar", file("rootfs.img", disk))
    elif form == "split":
        path, rootfs = image(tmp_path / "i.tar"), str(tmp_path / "disk.qcow2")
        Path(rootfs).write_bytes(disk)
    else:
        path = str(tmp_path)
        (tmp_path / "metadata.yaml").write_bytes(METADATA)
        (tmp_path / "rootfs.img").write_bytes(disk)
    found = {finding.check: finding.severity.name for finding in audit(scan_image(path, rootfs=rootfs))}
    assert found == {CHECK: "CRITICAL"}


@pytest.mark.parametrize("cuts", [(512,), (512, 1024), ()])
def test_qcow2_header_is_read_across_blocks_of_sparse_disk(tmp_path: Path, cuts: tuple[int, ...]):
    disk = qcow2(b"/etc/shadow")
    found = [
        f.message for f in audit(scan_image(image(tmp_path / "i.tar", sparse("rootfs.img", disk, cuts))))
    ]
    assert found == ["'rootfs.img' has the backing file '/etc/shadow', which qemu-img reads on the host"]


def test_a_hole_in_a_sparse_file_is_read_as_zeros(tmp_path: Path):
    """The beginning of the file that a scan keeps has data on both sides of the hole."""
    data = b"a:x:0:".ljust(512, b"x") + bytes(600) + b"\nb:x:0:\n"
    made = image(tmp_path / "i.tar", sparse("rootfs/etc/passwd", data, (512, 1112)))
    assert scan_image(made).heads["rootfs/etc/passwd"] == data


def test_an_incomplete_qcow2_header_gives_a_finding_of_high_severity():
    ((severity, _, message),) = observed(CHECK, an_image(heads={"rootfs.img": PLAIN[:71]}))
    assert (severity, message) == ("high", "'rootfs.img' is cut short: its qcow2 header is incomplete")


@pytest.mark.parametrize("magic", [b"QFI\xfb", b"KDMV", b"# a comment\n\nversion=1\nRW 1 FLAT /dev/sda 0\n"])
def test_tarball_with_a_disk_header_is_checked_as_both(tmp_path: Path, magic: bytes):
    """If a catalog calls a tarball a disk, a daemon passes the tarball to qemu-img."""
    block = bytearray(header("x", size=4096))
    block[: len(magic)] = magic
    block[8:16] = (600).to_bytes(8, "big") if magic[0] == 0x51 else block[8:16]
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    second = tmp_path / "second"
    second.write_bytes(bytes(block) + bytes(4096) + file("etc/passwd", b"") + bytes(1024))
    scanned = scan_image(image(tmp_path / "i.tar"), rootfs=str(second))
    assert "rootfs/etc/passwd" in {name.path for name in scanned.names}
    found = {(f.severity.name, f.place) for f in audit(scanned) if f.check == CHECK}
    assert ("CRITICAL", "rootfs.img") in found


def test_disk_description_without_data_gives_a_high_severity_finding(tmp_path: Path):
    second = tmp_path / "second.vmdk"
    second.write_text("# Disk DescriptorFile\nversion=1\nRW 1 FLAT /dev/sda 0\n")
    found = audit(scan_image(image(tmp_path / "i.tar"), rootfs=str(second)))
    assert [(f.check, f.severity.name) for f in found] == [(CHECK, "HIGH")]


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="NOT RUN: needs qemu-img")
def test_backing_file_of_disk_from_qemu_img_is_found(tmp_path: Path):
    (tmp_path / "base.raw").write_bytes(bytes(1 << 20))
    words = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base.raw", "rootfs.img"]
    subprocess.run(words, cwd=tmp_path, check=True)
    (tmp_path / "metadata.yaml").write_bytes(METADATA)
    (found,) = [f for f in audit(scan_image(str(tmp_path))) if f.check == CHECK]
    assert "'base.raw'" in found.message


def test_a_symlink_in_place_of_a_disk_is_not_opened(tmp_path: Path):
    made = image(tmp_path / "i.tar", header("rootfs.img", tarfile.SYMTYPE, linkname="/dev/sda"))
    found = {finding.check: finding.severity.name for finding in audit(scan_image(made))}
    assert found == {"layout": "HIGH"}
