"""A check of virtual machine disks. A qcow2 file can name other files, which qemu-img reads as root."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.file_names import DISK, ROOTFS
from ...model.source import printable
from ..base import Observation, ScannedImage, check

MAGIC = b"QFI\xfb"
#: size of the header of version 2
HEADER = 72
#: the "incompatible features" in the header of version 3, and the bit for an external data file
FEATURES = slice(72, 80)
EXTERNAL_DATA = 1 << 2


@check(
    "disk-image",
    "critical",
    "a virtual machine's disk that names a backing file, is not qcow2, or is also a root filesystem",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    head = image.heads.get(DISK)
    if head is None:
        return
    if any(name.path.startswith(f"{ROOTFS}/") for name in image.names):
        yield Observation(
            f"the image contains both '{DISK}' and files of a root filesystem: a daemon may pass"
            f" '{DISK}' to qemu-img, although other tools read a container's files",
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
    place, size = int.from_bytes(head[8:16], "big"), int.from_bytes(head[16:20], "big")
    if place:
        name = printable(head[place : place + min(size, 1023)].decode("utf-8", "surrogateescape"))
        named = f" '{name}'" if name else ""
        yield Observation(f"'{DISK}' has the backing file{named}, which qemu-img reads on the host", DISK)
    if head[4:8] >= b"\0\0\0\3" and int.from_bytes(head[FEATURES], "big") & EXTERNAL_DATA:
        yield Observation(f"'{DISK}' stores its data in another file, which qemu-img reads on the host", DISK)
