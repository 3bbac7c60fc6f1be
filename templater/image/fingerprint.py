"""The fingerprint of an image: a sha256, the same that the daemons show."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from ..model.errors import InputError, reason

_PIECE = 1024 * 1024


def fingerprint(*paths: str, progress: Callable[[int], None] = lambda size: None) -> str:
    """Return the sha256 of a unified image's file, or of a split image's two files one after the other."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_PIECE))
    for path in paths:
        try:
            with open(path, "rb", buffering=0) as file:
                while size := file.readinto(buffer):
                    digest.update(buffer[:size])
                    progress(size)
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
