"""A target is a symlink that hosts refuse, or the path of the target contains a symlink that hosts refuse.

The check also reports a target that is a directory, a device or another special file.

Newer releases of LXD and Incus refuse absolute links, and links that leave the root filesystem, so the start
fails. Incus 7 also refuses a link whose target does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.entry import FILE, SYMLINK
from ...model.source import printable
from ..authored_image import AuthoredImage
from ..base import Observation, check


@check(
    "refused-link",
    "error",
    "a target whose path leads through a link that a host refuses",
    hint="use the path of the link's target in the rule, or make the link relative",
    rootfs=True,
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    incus7 = [host.name for host in image.hosts if host.family == "I73"]
    for rule, path, resolved in image.targets:
        shown, at = printable(path), rule.spans["path"]
        for place, target in resolved.links:
            if target.startswith("/") or (place, target) in resolved.climbing:
                how = (
                    "an absolute link" if target.startswith("/") else "a link that leaves the root filesystem"
                )
                yield Observation(
                    f"'{shown}' is reached through '{printable(place)}', {how} ('{printable(target)}'):"
                    " hosts refuse this link",
                    at,
                    rule=rule,
                )
                break
        else:
            named = resolved.named
            if resolved.error is not None:
                yield Observation(f"'{shown}': {resolved.error.message}", at, rule=rule)
            elif incus7 and named is not None and named.kind == SYMLINK and resolved.entry is None:
                yield Observation(
                    f"'{shown}' is a link to '{printable(named.target)}', which does not exist:"
                    f" {', '.join(incus7)} refuses this link",
                    at,
                    rule=rule,
                )
            elif resolved.entry is not None and resolved.entry.kind != FILE:
                yield Observation(
                    f"'{shown}' is a {resolved.entry.kind}: the start fails",
                    at,
                    "use the path of a file as the target",
                    rule=rule,
                )
