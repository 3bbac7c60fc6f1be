"""A check of virtual machine disks. A qcow2 file can name other files, which qemu-img reads as root."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.file_names import DISK, ROOTFS
from ...model.unprintable_characters import printable
from ...parsing.qcow2 import HEADER, MAGIC, backing_file, has_external_data
from ..base import Observation, check
from ..scanned_image import ScannedImage


@check(
    "disk-image",
    "critical",
    "a virtual machine disk that has a backing file, is not qcow2, or is in the same image as a"
    " root filesystem",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    head = image.heads.get(DISK)
    if head is None:
        return
    if any(name.path.startswith(f"{ROOTFS}/") for name in image.names):
        yield Observation(
            f"the image contains both '{DISK}' and files of a root filesystem: a daemon may pass"
            f" '{DISK}' to qemu-img, although the root filesystem suggests a container image",
            DISK,
        )
    if not head.startswith(MAGIC):
        yield Observation(
            f"'{DISK}' is not a qcow2 file: qemu-img may detect another format that refers to host files",
            DISK,
            severity="high",
        )
        return
    if len(head) < HEADER:
        yield Observation(f"'{DISK}' is cut short: its qcow2 header is incomplete", DISK, severity="high")
    name = backing_file(head)
    if name is not None:
        named = f" '{printable(name.decode('utf-8', 'surrogateescape'))}'" if name else ""
        yield Observation(f"'{DISK}' has the backing file{named}, which qemu-img reads on the host", DISK)
    if has_external_data(head):
        yield Observation(f"'{DISK}' stores its data in another file, which qemu-img reads on the host", DISK)
