"""Targets that a mount of the runtime hides from the container."""

from ..model.entry import SYMLINK, parents_below
from ..model.errors import RefusedError
from ..model.unprintable_characters import printable
from ..planning.follow_links import MAX_LINKS, Steps, clean
from ..rootfs.confined_root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ..model.plan import Change


def real_places(mounts: "Collection[str]", rootfs: Root, empty: "Collection[str]" = ()) -> "dict[str, str]":
    """Return a dict that maps the real path of each mount point to the path in ``mounts``.

    Resolve links as the runtime does, except links below the mount points in ``empty``.
    """
    tree = Root(rootfs.name, mechanism=rootfs.mechanism, cross_mounts=True, fd=rootfs.fd)
    steps = Steps()
    places: dict[str, str] = {}
    without_links: set[str] = set()
    for mount in mounts:
        try:
            path = clean(mount) if mount.strip("/") else "/"
        except RefusedError:  # for example, a path with a NUL: the runtime refuses it
            continue
        place = _real(path, tree, steps, places, without_links)
        if mount in empty and place not in places:
            without_links.add(place)
        else:
            without_links.discard(place)
        places[place] = mount
    return places


def _real(mount: str, tree: Root, steps: Steps, places: "Collection[str]", without_links: "set[str]") -> str:
    """Return the real path of a mount point. Raises RefusedError for too many links.

    Unlike ``resolve``, follow the links of any user, as runtimes do.

    ``without_links`` has directories without links, such as empty mounts. Add each subdirectory on the path
    below them, except the mount points in ``places``.
    """
    place, pending, links = "", mount.split("/")[::-1], 0
    while pending:
        name = pending.pop()
        steps.take(place)
        if name == "..":
            place = place.rpartition("/")[0]
        elif name not in ("", "."):
            above, below = place or "/", f"{place}/{name}"
            entry = None if above in without_links else tree.entry(below)
            if entry is None or entry.kind != SYMLINK:
                # `real_places` decides whether to add the paths in `places`.
                if above in without_links and below not in places:
                    without_links.add(below)
                place = below
                continue
            links += 1
            if links > MAX_LINKS:
                raise RefusedError(
                    f"the container's mount at '{printable(mount)}' leads through too many links"
                )
            steps.take(entry.target)
            place = "" if entry.target.startswith("/") else place
            pending += entry.target.split("/")[::-1]
    return place or "/"


def refuse_hidden(change: "Change", places: "Mapping[str, str]", hint: str) -> None:
    """Raise RefusedError if the runtime mounts a file system on a directory above the change's target."""
    # The container would not see the file, but the file's secrets would remain on disk. A mount on the target
    # itself is allowed, because podman mounts a file on ``/etc/hosts``.
    place = "/" if "/" in places else next((x for x in parents_below(change.real, 0) if x in places), None)
    if place is not None:
        raise RefusedError(
            f"the container's mount at '{printable(places[place])}' would hide '{printable(change.path)}'",
            hint=f"remove the mount or the rule, or {hint}",
        )
