"""Downloads of SRC from an image server, so that commands read only local files."""

from __future__ import annotations

import os

from ..model.errors import UsageError
from ..model.unprintable_characters import printable
from . import output
from .progress import progress


def local_source(src: str) -> str:
    """Return a local path of SRC. If SRC is on a server, fetch its metadata and templates.

    The address of a running instance is returned unchanged.
    """
    from ..live.address import is_live

    return src if ":" in src and is_live(src) else local_files(src, whole=False)[0]


def local_files(src: str, *, whole: bool = True) -> tuple[str, str | None]:
    """Return the local path of SRC, and the path of the second file of a fetched split image (or None).

    Without ``whole``, only metadata and templates are fetched.
    """
    if ":" not in src or os.path.lexists(src):
        return src, None
    from ..distribution.fetch_image import fetch_source
    from ..distribution.remotes import is_remote
    from ..live.address import is_live

    if is_live(src):
        raise UsageError(
            f"this command reads images, and '{printable(src)}' is an instance",
            hint="publish the instance first, or give an image: incus:image/ALIAS",
        )

    if not is_remote(src):
        return src, None
    with progress("fetching") as show:
        fetched = fetch_source(src, whole=whole, progress=show)
    for note in fetched.notes:
        output.note(note)
    return fetched.image, fetched.rootfs
