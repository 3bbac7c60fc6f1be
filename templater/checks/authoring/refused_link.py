"""A target is a symlink that some daemons refuse, or a path below such a symlink.

Newer releases of LXD and Incus refuse absolute links, and links that leave the root filesystem. Incus 7 also
refuses a link whose target does not exist. All releases refuse a path below a link whose target does not
exist. If a daemon refuses a target, the start fails.

The check also reports a target that is a directory or a special file. In the path of a target, the check
reports `..` or a slash after a name that is not a directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ...model.entry import DIRECTORY, FILE, SYMLINK
from ...model.errors import RefusedError
from ...model.unprintable_characters import printable
from ...planning.follow_links import MAX_LINKS, Steps, Walk, resolve
from ..authored_image import AuthoredImage
from ..base import Observation, check


class _OddStep(NamedTuple):
    """A step of a path at which a host must enter a directory, but cannot.

    ``place`` is the path of the expected directory. ``for_all`` is true if all hosts with Go's os.Root refuse
    the path, and false if only Incus 7 does.
    """

    what: str
    place: str
    why: str
    for_all: bool


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
    steps = Steps()
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
            elif named is None and resolved.links and _is_dangling(image, resolved.links[-1][0], steps):
                place, target = resolved.links[-1]
                yield Observation(
                    f"'{shown}' is below '{printable(place)}', a link to '{printable(target)}', which does"
                    " not exist: the start fails",
                    at,
                    "add the directory of the link's target to the image, or remove the link",
                    rule=rule,
                )
            elif (odd := _odd_step(image, rule.path, steps)) and (
                hosts := with_roots if odd.for_all else incus7
            ):
                yield Observation(
                    f"'{printable(rule.path)}' has {odd.what} after '{printable(odd.place)}',"
                    f" which {odd.why}:"
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


def _is_dangling(image: AuthoredImage, link: str, steps: Steps) -> bool:
    return resolve(image.rootfs, link, steps).entry is None


def _odd_step(image: AuthoredImage, path: str, steps: Steps) -> _OddStep | None:
    """Return the first step of ``path`` at which a host fails, or None.

    If the path ends in a slash, check all steps. Otherwise, check the steps up to the last ``..``.
    """
    names = path.split("/")
    last = len(names) - 1
    # Hosts with Go's os.Root look up the names one after the other. So a ``..`` after a link leads to the
    # directory above the link's target. Other hosts first remove each ``..`` from the text of the path.
    last_up = last - names[::-1].index("..") if ".." in names else -1
    walk = Walk(image.rootfs, steps)
    for number in range(last + 1 if names[last] in ("", ".") else last_up + 1):
        name = names[number]
        place = walk.place() if name == ".." else f"{walk.prefix}/{name}"
        what = "'..'" if number <= last_up else "a slash"
        if walk.depth is not None and (name == ".." or number == last):
            return _OddStep(what, walk.place(), "does not exist", False)
        try:
            walk.follow(name, last_is_directory=True)
        except RefusedError:
            if len(walk.links) > MAX_LINKS:
                return _OddStep(what, place, "leads through too many links", True)
            if walk.depth is not None:
                return _OddStep(what, walk.place(), "does not exist", False)
            if walk.entry is None or walk.entry.kind in (DIRECTORY, SYMLINK):
                return None  # only templater refuses this link
            return _OddStep(what, place, f"is a {walk.entry.kind}", True)
        if walk.climbing or any(target.startswith("/") for _, target in walk.links):
            return _OddStep(what, place, "leads out of the root filesystem", True)
    return None
