"""Fingerprints of images, as the daemons compute them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from ..model.errors import InputError, reason
from .open_file import reading, whole_content

_PIECE = 1024 * 1024


def fingerprint(*paths: str, progress: Callable[[int], None] = lambda size: None) -> str:
    """Return the sha256 of an image's file, or of the two concatenated files of a split image."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with reading(path) as file:
                for piece in whole_content(file, path):
                    digest.update(piece)
                    progress(len(piece))
        except OSError as error:
            raise InputError(f"'{path}' can't be read: {reason(error)}") from error
    return digest.hexdigest()


def of_descriptors(*descriptors: int) -> str:
    digest = hashlib.sha256()
    for fd in descriptors:
        offset = 0
        while data := os.pread(fd, _PIECE, offset):
            digest.update(data)
            offset += len(data)
    return digest.hexdigest()


def fingerprints_around(path: str, new: int, rootfs: str | None) -> tuple[str, str]:
    """Return an image's old and new fingerprint. The descriptor ``new`` has the new content of ``path``."""
    old_digest, new_digest = hashlib.sha256(), hashlib.sha256()
    _feed(path, old_digest)
    offset = 0
    while data := os.pread(new, _PIECE, offset):
        new_digest.update(data)
        offset += len(data)
    # The root filesystem is read only once for both fingerprints.
    if rootfs is not None:
        _feed(rootfs, old_digest, new_digest)
    return old_digest.hexdigest(), new_digest.hexdigest()


def _feed(path: str, *digests: hashlib._Hash) -> None:
    buffer = memoryview(bytearray(_PIECE))
    try:
        with reading(path) as file:
            while size := file.readinto(buffer):
                for digest in digests:
                    digest.update(buffer[:size])
    except OSError as error:
        raise InputError(f"'{path}' can't be read: {reason(error)}") from error
