"""A check for targets whose path is invalid or leaves the root filesystem."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import TemplaterError
from ...model.unprintable_characters import printable
from ...planning.follow_links import clean
from ..base import Observation, check
from ..scanned_image import ScannedImage


@check(
    "target-outside",
    "critical",
    "a target that leaves the root filesystem, is its root directory, or is longer than Linux allows",
    "CVE-2026-23954",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    for rule in image.rules:
        at = rule.spans["path"]
        try:
            clean(rule.path)
        except TemplaterError as error:
            if "leaves" in error.message:
                yield Observation(error.message, at, error.hint)
            else:
                yield Observation(error.message, at, error.hint, severity="medium", advisory="")
        if any(not character.isprintable() for character in rule.path.replace("\0", "")):
            message = f"target path '{printable(rule.path)}' has unprintable characters"
            yield Observation(message, at, severity="low", advisory="")
