"""Names of the root filesystem that come twice: which one counts depends on the program that unpacks."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.entry import DIRECTORY
from ...model.source import printable
from ..base import Observation, ScannedImage, check


@check("member-twice", "medium", "a name of the root filesystem that comes twice: `unpack` refuses it")
def check_image(image: ScannedImage) -> Iterator[Observation]:
    kinds: dict[str, str] = {}
    twice: dict[str, None] = {}
    for name in image.names:
        if name.path.startswith("rootfs/"):
            before = kinds.setdefault(name.path, "")
            if before and not before == name.entry.kind == DIRECTORY:
                twice[name.path] = None
            kinds[name.path] = name.entry.kind
    if twice:
        first = next(iter(twice))
        count = f"{len(twice)} names come" if len(twice) > 1 else "one name comes"
        yield Observation(f"{count} twice in the root filesystem, first '{printable(first)}'", first)
