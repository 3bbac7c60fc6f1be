"""Opening a stream for `verify` and `list`, by its path or URL."""

from __future__ import annotations

import os

from ..model.errors import InputError
from .local_stream import LocalStream, Stream
from .tree import Tree


def open_stream(place: str) -> Stream:
    """Open a tree on disk, or a stream behind an https URL.

    Raises InputError if the directory is missing, and UsageError for an invalid URL.
    """
    if "://" in place:
        from .https_client import UrlStream

        return UrlStream(place)
    if not os.path.isdir(place):
        raise InputError(f"'{place}' is not a directory", hint="give a tree or an https URL")
    return LocalStream(Tree(place))
