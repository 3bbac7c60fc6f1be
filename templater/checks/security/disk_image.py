"""A check of virtual machine disks. A qcow2 file can name other files, which qemu-img reads as root."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.file_names import DISK
from ...model.source import printable
from ..base import Observation, ScannedImage, check

MAGIC = b"QFI\xfb"
#: the "incompatible features" in the header of version 3, and the bit for an external data file
FEATURES = slice(72, 80)
EXTERNAL_DATA = 1 << 2


@check("disk-image", "critical", "a virtual machine's disk that names a backing file, or is not qcow2")
def check_image(image: ScannedImage) -> Iterator[Observation]:
    head = image.heads.get(DISK)
    if head is None:
        return
    if not head.startswith(MAGIC):
        yield Observation(
            f"'{DISK}' is not a qcow2 file: qemu-img may detect another format that refers to host files",
            DISK,
            severity="high",
        )
        return
    place, size = int.from_bytes(head[8:16], "big"), int.from_bytes(head[16:20], "big")
    if place:
        name = printable(head[place : place + min(size, 1023)].decode("utf-8", "surrogateescape"))
        named = f" '{name}'" if name else ""
        yield Observation(f"'{DISK}' has the backing file{named}, which qemu-img reads on the host", DISK)
    if head[4:8] >= b"\0\0\0\3" and int.from_bytes(head[FEATURES], "big") & EXTERNAL_DATA:
        yield Observation(f"'{DISK}' stores its data in another file, which qemu-img reads on the host", DISK)
