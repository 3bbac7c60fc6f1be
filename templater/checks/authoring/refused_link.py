"""A target is a symlink that hosts refuse, or the path of the target contains a symlink that hosts refuse.

The check also reports a target that is a directory, a device or another special file, and a target with `..`
or a slash after a name that is not a directory.

Newer releases of LXD and Incus refuse absolute links, and links that leave the root filesystem, so the start
fails. Incus 7 also refuses a link whose target does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ...model.entry import DIRECTORY, FILE, SYMLINK
from ...model.source import printable
from ...planning.follow_links import resolve
from ..authored_image import AuthoredImage
from ..base import Observation, check


class _OddStep(NamedTuple):
    """A step of a path that needs a directory at ``place``, where no directory is."""

    what: str
    place: str
    is_file: bool


@check(
    "refused-link",
    "error",
    "a target whose path leads through a link that a host refuses",
    hint="use the path of the link's target in the rule, or make the link relative",
    rootfs=True,
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    with_roots = [host.name for host in image.hosts if host.family in ("I73", "LHEAD")]
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
            elif (odd := _odd_step(image, rule.path)) and (hosts := with_roots if odd.is_file else incus7):
                why = "is a file" if odd.is_file else "does not exist"
                yield Observation(
                    f"'{printable(rule.path)}' has {odd.what} after '{printable(odd.place)}', which {why}:"
                    f" {', '.join(hosts)} {'refuse' if len(hosts) > 1 else 'refuses'} this path",
                    at,
                    f"write the path as '{shown}'",
                    rule=rule,
                )
            elif resolved.entry is not None and resolved.entry.kind != FILE:
                yield Observation(
                    f"'{shown}' is a {resolved.entry.kind}: the start fails",
                    at,
                    "use the path of a file as the target",
                    rule=rule,
                )


def _odd_step(image: AuthoredImage, path: str) -> _OddStep | None:
    """Return the first ``..``, or the slash at the end of a path, that does not follow a directory.

    Hosts that use Go's os.Root follow a path name by name. Other hosts first remove ``..`` from the text.
    """
    names: list[str] = []
    for name in path.split("/"):
        is_end = name in ("", ".") and path.endswith(f"/{name}")
        if names and (name == ".." or is_end):
            place = "/" + "/".join(names)
            entry = resolve(image.rootfs, place).entry
            if entry is None or entry.kind != DIRECTORY:
                return _OddStep("'..'" if name == ".." else "a slash", place, entry is not None)
        if name == "..":
            del names[-1:]
        elif name not in ("", "."):
            names.append(name)
    return None
