"""File name extensions of images: their meaning, and the extensions of new files."""

from __future__ import annotations

import os

from ..model.errors import UsageError
from ..model.unprintable_characters import printable
from ..parsing.file_kind import COMPRESSIONS, QCOW2, SQUASHFS

#: extensions of other kinds of files; unknown extensions are accepted, such as `.2` in `image-v1.2`
_OTHER_KINDS = {
    "7z", "br", "cpio", "deb", "erofs", "ext4", "iso", "lz", "lzo", "ova", "qcow2", "rar", "raw", "rpm",
    "sfs", "sqfs", "squashfs", "tbz", "tbz2", "tlz", "tzst", "vhd", "vhdx", "vmdk", "zip",
}  # fmt: skip
#: extensions of a compressed file, which is a tarball only if `.tar` precedes the extension
_COMPRESSED = {"bz2", "gz", "lz4", "lzma", "zst"}


def refuse_extension(name: str) -> None:
    """Raise UsageError if a file name has an extension that does not belong to a tarball."""
    stem, _, ending = os.path.basename(name).rpartition(".")
    ending = ending.lower()
    other = ending in _OTHER_KINDS or (ending in _COMPRESSED and not stem.endswith(".tar"))
    if stem and other:
        raise UsageError(
            f"'{printable(name)}' has the extension of another kind of file, but an image is a tarball",
            hint="use .tar, .tgz, .tar.gz, .tar.bz2, .tar.xz, .tar.lzma, .tar.zst or .tar.lz4",
        )


def extension(kind: str) -> str:
    """Return the extension of a file of this kind, with its dot."""
    if kind in (SQUASHFS, QCOW2):
        return "." + kind
    return ".tar" + COMPRESSIONS.get(kind, "")
