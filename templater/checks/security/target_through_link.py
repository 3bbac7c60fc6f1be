"""Targets that lead through symlinks of the image."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.source import printable
from ..base import Observation, ScannedImage, check


@check(
    "target-through-link",
    "high",
    "a target behind a symlink of the root filesystem that is absolute or climbs out of it",
    "CVE-2026-23954",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    """Old daemons follow such links on the host; newer ones refuse the start."""
    for rule, path, resolved in image.targets:
        for place, target in resolved.links:
            depth = climbs(place, target)
            if target.startswith("/") or depth:
                how = "is absolute" if target.startswith("/") else "climbs out of the root filesystem"
                yield Observation(
                    f"'{printable(path)}' leads through '{printable(place)}', a symlink that {how}: "
                    f"'{printable(target)}'",
                    rule.spans["path"],
                    hint="make the link relative: then it works in every release",
                    severity="high" if depth else "medium",
                )
        if resolved.error is not None:
            message = f"'{printable(path)}': {resolved.error.message}"
            yield Observation(message, rule.spans["path"], severity="medium", advisory="")


def climbs(place: str, target: str) -> bool:
    """Whether ``..`` in a relative target goes above the root."""
    depth = place.count("/") - 1
    for name in target.split("/"):
        if name == "..":
            depth -= 1
        elif name not in ("", "."):
            depth += 1
        if depth < 0:
            return not target.startswith("/")
    return False
