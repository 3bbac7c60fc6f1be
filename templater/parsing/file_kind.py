"""Detection of a file's kind, such as tar or gzip, from its first bytes. The file's name does not matter."""

from __future__ import annotations

import re

TAR = "tar"
GZIP = "gzip"
BZIP2 = "bzip2"
XZ = "xz"
LZMA = "lzma"
ZSTD = "zstd"
LZ4 = "lz4"
SQUASHFS = "squashfs"
QCOW2 = "qcow2"
EMPTY = "empty"
UNKNOWN = "unknown"

#: the compression formats of tar archives, with the file name suffixes that the daemons use
COMPRESSIONS = {GZIP: ".gz", BZIP2: ".bz2", XZ: ".xz", LZMA: ".lzma", ZSTD: ".zst", LZ4: ".lz4"}

#: the number of bytes that ``recognise`` needs from the start of a file
HEAD = 33 * 1024

BLOCK = 512

# Tuples of (offset, magic bytes, kind). Incus detects some of these kinds in shared/archive/detect.go.
_MAGIC = (
    (0, b"\x1f\x8b", GZIP),
    (0, b"BZh", BZIP2),
    (0, b"\xfd7zXZ\x00", XZ),
    (0, b"\x5d\x00\x00", LZMA),
    (0, b"\x28\xb5\x2f\xfd", ZSTD),
    (0, b"\x04\x22\x4d\x18", LZ4),
    (257, b"ustar", TAR),
    (0, b"hsqs", SQUASHFS),
    (0, b"QFI\xfb", QCOW2),
    (0, b"KDMV", "vmdk"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vhd"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!", "rar"),
    (0, b"070701", "cpio"),
    (0, b"070707", "cpio"),
    (0, b"!<arch>\n", "ar"),
    (0, b"\xed\xab\xee\xdb", "rpm"),
    (0, b"\x02\x21\x4c\x18", "legacy lz4"),
    (0, b"LZIP", "lzip"),
    (0, b"\x89LZO", "lzop"),
    (0, b"\x1f\x9d", "compress (.Z)"),
    (0, b"sqsh", "big-endian squashfs"),
    (0, b"\x7fELF", "ELF"),
    (0x8001, b"CD001", "ISO 9660"),
    (1024, b"\xe2\xe1\xf5\xe0", "erofs"),
    (1080, b"\x53\xef", "ext2/3/4"),
)

#: the magic bytes of disks that qemu-img detects: qcow2, qed, vmdk, vhdx, vhd
_DISKS = (b"QFI\xfb", b"QED\0", b"KDMV", b"COWD", b"vhdxfile", b"conectix")
#: the beginning of a vmdk file that describes a disk: comments, blank lines and a version
_VMDK_TEXT = re.compile(rb"(?:#[^\n]*\n|[ \r]*\n)*version=")

_HINTS = {
    SQUASHFS: "this may be the root filesystem of a split image; pass the image's metadata tarball instead",
    QCOW2: "this is a virtual machine's disk; pass the image's metadata tarball instead",
    "zip": "some builders wrap the image in a zip file; unpack it first",
    "legacy lz4": "compress the archive again with a current lz4, which writes the frame format",
    "text": "pass the directory or tarball that contains metadata.yaml; pass an instance description with -i",
    EMPTY: "the download may be incomplete",
}


def recognise(head: bytes) -> str:
    """Return the kind of a file, such as TAR, "text" or UNKNOWN.

    ``head`` has the first ``HEAD`` bytes of the file.
    """
    if not head:
        return EMPTY
    for offset, magic, kind in _MAGIC:
        if head.startswith(magic, offset):
            return kind
    if _is_old_tar(head):
        return TAR
    return "text" if _is_text(head[:1024]) else UNKNOWN


def is_disk(head: bytes) -> bool:
    """Return whether qemu-img would detect a virtual machine's disk from a file's first bytes.

    A tar archive also matches if its first name begins with the magic bytes of a disk.
    """
    return head.startswith(_DISKS) or _VMDK_TEXT.match(head[:BLOCK]) is not None


def is_also_tar(head: bytes) -> bool:
    """Return whether the first bytes of a compressed file are also a valid start of a tar archive."""
    # LXD and Incus before 7 can read such an lz4 or zstd file as a tar archive: they do not know lz4, and
    # test for a tar archive before they test for zstd.
    return head.startswith(b"ustar", 257) or _is_old_tar(head)


def is_detected_tar(head: bytes) -> bool:
    """Return whether the daemons detect a tar archive by its first bytes.

    The caller has checked that ``recognise`` returns TAR.
    """
    # This is the test of shared/archive/detect.go of Incus, and of shared/archive.go of LXD. The daemons look
    # for compressed files first: the name of the first member can begin with the bytes of bzip2 or xz.
    return head.startswith(b"ustar", 257) and not (head.startswith(b"BZ") or head.startswith(b"7zXZ", 1))


def hint_for(kind: str) -> str:
    """Return a hint for users who passed a file of this kind as an image."""
    return _HINTS.get(
        kind, "an image is a directory or a tar archive: plain, gzip, bzip2, xz, lzma, zstd or lz4"
    )


def describe(kind: str) -> str:
    """Return a phrase that describes the kind of a file in a message, such as "is a squashfs file"."""
    if kind == EMPTY:
        return "is empty"
    if kind == UNKNOWN:
        return "is not a tar archive or any other known file type"
    article = "an" if kind[0] in "aeioAEIO" else "a"
    return f"is {article} {kind} file"


def _is_old_tar(head: bytes) -> bool:
    """Return whether the file is a tar archive without magic bytes: in the v7 format, or empty (zeros)."""
    block = head[:BLOCK]
    if len(block) < BLOCK:
        return False
    if not any(block):
        return True
    try:
        stored = int(block[148:156].strip(b"\0 "), 8)
    except ValueError:
        return False
    return stored == sum(block) - sum(block[148:156]) + 8 * 32


def _is_text(head: bytes) -> bool:
    return not any(byte < 9 or 13 < byte < 32 for byte in head)
