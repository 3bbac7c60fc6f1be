"""Targets that a mount of the runtime hides from the container."""

from ..model.entry import parents_below
from ..model.errors import RefusedError
from ..model.source import printable
from ..planning.follow_links import Steps, clean, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ..model.entry import RootfsView
    from ..model.plan import Change


def real_places(mounts: "Collection[str]", rootfs: "RootfsView", hint: str) -> "dict[str, str]":
    """Return the mount points in ``mounts``, by the paths to which the links of the root filesystem lead.

    Raises RefusedError for a link that templater does not follow, because the runtime may follow it.
    """
    steps = Steps()
    places = {}
    for mount in mounts:
        try:
            path = clean(mount)
        except RefusedError:  # for example, a path with a NUL: the runtime refuses it
            continue
        resolved = resolve(rootfs, path, steps)
        if resolved.error is not None:
            raise RefusedError(
                f"the container's mount at '{printable(mount)}' may hide files: {resolved.error.message}",
                hint=f"remove the link or the mount, or {hint}",
            )
        places[resolved.real] = mount
    return places


def refuse_hidden(change: "Change", places: "Mapping[str, str]", hint: str) -> None:
    """Raise RefusedError if the runtime mounts another file system above the change's target.

    The mount hides the file, which would lie in the directory below it, with the secrets in the file. A file
    that is mounted over the target itself is not refused, because podman does so with ``/etc/hosts``.
    """
    place = next((place for place in parents_below(change.real, 0) if place in places), None)
    if place is not None:
        raise RefusedError(
            f"the container's mount at '{printable(places[place])}' would hide '{printable(change.path)}'",
            hint=f"remove the mount or the rule, or {hint}",
        )
