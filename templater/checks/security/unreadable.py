"""A check that reports parts of the image that are unreadable or exceed a limit."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import LimitError
from ...model.file_names import METADATA, TEMPLATES
from ...model.unprintable_characters import printable
from ..base import Observation, check
from ..scanned_image import ScannedImage

#: mount points that every running system has
_OF_KERNEL = ("rootfs/dev/", "rootfs/proc/", "rootfs/run/", "rootfs/sys/")
_SHOWN = 8


@check("unreadable", "high", "a part of the image that is unreadable, has a wrong size or is too large")
def check_image(image: ScannedImage) -> Iterator[Observation]:
    """Report each error of reading the image. A daemon may read a part that no check has read."""
    for error in image.errors:
        large_metadata = isinstance(error, LimitError) and METADATA in str(error)
        yield Observation(
            error.message,
            error.span or "",
            error.hint,
            advisory="CVE-2026-41648" if large_metadata else "",
        )
    mounts = [
        name.path
        for name in image.names
        if name.entry.is_mount and name.path != TEMPLATES and not f"{name.path}/".startswith(_OF_KERNEL)
    ]
    if mounts:
        shown = ", ".join(f"'{printable(path)}'" for path in mounts[:_SHOWN])
        more = f" and {len(mounts) - _SHOWN} more" if len(mounts) > _SHOWN else ""
        message = f"the files in mount points were not read: {shown}{more}"
        yield Observation(message, mounts[0], severity="medium", advisory="")
