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
