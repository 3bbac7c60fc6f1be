"""SRC on a server: fetch it, show what was chosen, and continue with local files."""

from __future__ import annotations

import os

from . import output
from .progress import progress


def local_source(src: str) -> str:
    """Return the path of SRC, whose metadata and templates are fetched if it is on a server."""
    return local_files(src, whole=False)[0]


def local_files(src: str, *, whole: bool = True) -> tuple[str, str | None]:
    """Return the paths of SRC and of its root filesystem, which are fetched if SRC is on a server."""
    if ":" not in src or os.path.lexists(src):
        return src, None
    from ..distribution.remote_source import fetch_source, is_remote

    if not is_remote(src):
        return src, None
    with progress("fetching") as show:
        fetched = fetch_source(src, whole=whole, progress=show)
    for note in fetched.notes:
        output.note(note)
    return fetched.image, fetched.rootfs
