"""A check for duplicate names in the root filesystem: different programs may unpack different copies."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.entry import DIRECTORY
from ...model.file_names import ROOTFS
from ...model.unprintable_characters import printable
from ..base import Observation, check
from ..scanned_image import ScannedImage


@check(
    "member-twice", "medium", "a duplicate name in the root filesystem: `templater unpack` rejects the image"
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    kinds: dict[str, str] = {}
    twice: dict[str, None] = {}
    for name in image.names:
        if name.path.startswith(f"{ROOTFS}/"):
            before = kinds.setdefault(name.path, "")
            if before and not before == name.entry.kind == DIRECTORY:
                twice[name.path] = None
            kinds[name.path] = name.entry.kind
    if twice:
        first = next(iter(twice))
        message = f"'{printable(first)}' occurs twice in the root filesystem"
        if len(twice) > 1:
            message = (
                f"{len(twice)} names occur twice in the root filesystem, for example '{printable(first)}'"
            )
        yield Observation(message, first)
