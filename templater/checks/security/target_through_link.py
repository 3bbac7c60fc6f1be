"""A check for targets that are reached through unsafe symlinks in the image."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ..base import Observation, check
from ..scanned_image import MAX_DEPTH, ScannedImage


@check(
    "target-through-link",
    "high",
    "a target reached through a symlink that is absolute or leaves the root filesystem",
    "CVE-2026-23954",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    """Find targets whose path leads through an unsafe symlink.

    Old daemons follow unsafe symlinks on the host. With newer daemons, the start fails.

    The check also reports a path that leads through a missing directory, because the check can't follow the
    rest of the path. An earlier rule may create the directory, and then a daemon follows the links in the
    rest of the path. If the target of a link on the path contains ``..``, the finding has the severity high.
    """
    for rule, path, resolved in image.targets:
        for place, target in resolved.links:
            leaves = (place, target) in resolved.climbing
            if target.startswith("/") or leaves:
                absolute = target.startswith("/")
                how = "an absolute symlink" if absolute else "a symlink that leaves the root filesystem"
                yield Observation(
                    f"'{printable(path)}' is reached through '{printable(place)}', {how} "
                    f"('{printable(target)}')",
                    rule.spans["path"],
                    hint="use a relative link inside the root filesystem: it works in every release",
                    severity="high" if leaves else "medium",
                )
        if max(path.count("/"), resolved.real.count("/")) > MAX_DEPTH:
            yield Observation(
                f"'{printable(path[:100])}…' leads through more than {MAX_DEPTH} directories,"
                " and the deepest ones were not checked for links",
                rule.spans["path"],
                advisory="",
            )
        elif resolved.error is not None:
            message = f"'{printable(path)}': {resolved.error.message}"
            climbs = any(".." in target.split("/") for _, target in resolved.links)
            yield Observation(
                message, rule.spans["path"], severity="high" if climbs else "medium", advisory=""
            )
