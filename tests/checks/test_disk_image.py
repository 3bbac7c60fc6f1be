"""The disk of a virtual machine's image."""

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from templater.checks.finding import audit
from templater.checks.scan import scan_image
from tests.checks.builders import an_image, observed, severities
from tests.image_archives import METADATA, file, header, image

CHECK = "disk-image"
PLAIN = b"QFI\xfb\0\0\0\3" + bytes(4000)


def qcow2(backing: bytes = b"", features: int = 0) -> bytes:
    """A header as docs/interop/qcow2.txt of QEMU describes it."""
    place = 200 if backing else 0
    head = b"QFI\xfb\0\0\0\3" + place.to_bytes(8, "big") + len(backing).to_bytes(4, "big")
    return (head.ljust(72, b"\0") + features.to_bytes(8, "big")).ljust(200, b"\0") + backing + bytes(4000)


def test_a_backing_file_is_named_in_a_critical_finding():
    found = observed(CHECK, an_image(heads={"rootfs.img": qcow2(b"/etc/shadow")}))
    ((severity, place, message),) = found
    assert (severity, place) == ("critical", "rootfs.img")
    assert "the backing file '/etc/shadow'" in message


def test_an_external_data_file_is_a_critical_finding():
    assert severities(CHECK, an_image(heads={"rootfs.img": qcow2(features=4)})) == ["critical"]


def test_a_disk_of_another_format_is_a_high_finding():
    head = b"# Disk DescriptorFile\nRW 1 FLAT /dev/sda 0\n"
    assert severities(CHECK, an_image(heads={"rootfs.img": head})) == ["high"]


def test_an_ordinary_disk_has_no_finding():
    assert not observed(CHECK, an_image(heads={"rootfs.img": PLAIN}))


@pytest.mark.parametrize("form", ["unified", "directory", "split"])
def test_the_disk_is_read_in_every_image_format(tmp_path: Path, form: str):
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


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="NOT RUN: needs qemu-img")
def test_a_backing_file_made_by_qemu_img_is_found(tmp_path: Path):
    (tmp_path / "base.raw").write_bytes(bytes(1 << 20))
    words = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base.raw", "rootfs.img"]
    subprocess.run(words, cwd=tmp_path, check=True)
    (tmp_path / "metadata.yaml").write_bytes(METADATA)
    (found,) = [f for f in audit(scan_image(str(tmp_path))) if f.check == CHECK]
    assert "'base.raw'" in found.message


def test_a_disk_that_is_a_symlink_is_not_opened(tmp_path: Path):
    made = image(tmp_path / "i.tar", header("rootfs.img", tarfile.SYMTYPE, linkname="/dev/sda"))
    found = {finding.check: finding.severity.name for finding in audit(scan_image(made))}
    assert found == {"layout": "HIGH"}
