"""A check for archive names that are absolute, contain '..' or have misleading characters."""

from __future__ import annotations

from collections.abc import Iterator

from ...image.limits import DEEPEST
from ...model.file_names import ROOTFS
from ...model.unprintable_characters import printable
from ..base import Observation, check
from ..scanned_image import ScannedImage


@check(
    "member-name",
    "critical",
    "a name in the archive that is absolute, contains '..' or has unprintable characters",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    for name in image.names:
        path = name.path
        shown = printable(path)
        if path.startswith("/"):
            yield Observation(f"'{shown}' is absolute", path)
        if path.startswith("../") or "/../" in path or path.endswith("/..") or path == "..":
            yield Observation(f"'{shown}' contains '..'", path)
        if not path.startswith(f"{ROOTFS}/") and "\\" in path:
            yield Observation(f"'{shown}' contains a backslash", path, severity="medium")
        if not path.isprintable():
            yield Observation(f"'{shown}' has unprintable characters", path, severity="info")
        if path.count("/") > DEEPEST:
            message = (
                f"'{shown[:100]}…' is more than {DEEPEST} directories deep: `templater unpack` rejects it"
            )
            yield Observation(message, "", severity="info")
