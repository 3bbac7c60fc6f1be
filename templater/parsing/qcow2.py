"""The references from a qcow2 disk to other files. qemu-img opens these files.

QEMU's qcow2.txt describes the format.
"""

MAGIC = b"QFI\xfb"
#: size in bytes of the header of version 2
HEADER = 72
#: the "incompatible features" in the header of version 3, and the bit for an external data file
_FEATURES = slice(72, 80)
_EXTERNAL_DATA = 1 << 2


def backing_file(head: bytes) -> bytes | None:
    """Return the name of a disk's backing file, or None if the disk has none.

    The result is empty if the name is not in ``head``, the first bytes of the disk.
    """
    place, size = int.from_bytes(head[8:16], "big"), int.from_bytes(head[16:20], "big")
    return head[place : place + min(size, 1023)] if place else None


def has_external_data(head: bytes) -> bool:
    """Return whether a qcow2 disk keeps its data in another file."""
    features = int.from_bytes(head[_FEATURES], "big")
    return head[4:8] >= b"\0\0\0\3" and bool(features & _EXTERNAL_DATA)
