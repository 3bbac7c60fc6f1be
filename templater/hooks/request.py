"""Requests to a hook, made from the hook line's options and the runtime's data."""

from ..model.errors import RefusedError
from ..model.source import printable
from ..oslite import abspath, dirname, islink, join, os, stat

#: limit on the names on the way to a directory, including those of links
MOST_COMPONENTS = 1000

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..model.source import Source
    from ..rootfs.confined import Root
    from ..rootfs.directory import IdMap
    from .options import Options


class HookRequest:
    """A request to render an image for a container and to write the files into its root filesystem.

    Attributes are not changed after ``__init__``:

    ``name``: the container's name from the runtime; empty to use the name in the description.
    ``rootfs``: the root filesystem. If ``mount`` is set, it is called before the root filesystem is opened.
    ``image``: the directory with metadata.yaml and templates.
    ``open_image``: the same directory, already open, if an annotation names it. Then the hook does not open
    the directory by name again, and ignores an instance.yaml in it.
    ``state_folder``: the directory that contains ``.templater``.
    ``instance_file``: the description's file; empty for instance.yaml beside the state or the image.
    ``description``: the description itself, if an annotation names it.
    ``config``: configuration keys from the runtime.
    ``triggers``: the triggers to run; empty for the pending trigger followed by start.
    ``pending_in_config``: read the pending trigger from the instance's volatile.apply_template.
    ``compare``: write nothing, and fail if the files in the root filesystem differ from the result.
    ``ids``: the id map; None to guess it from the root filesystem's owner.
    ``cross_mounts``: follow paths through mount points.
    ``Options`` describes the other attributes.
    """

    __slots__ = (
        "cache", "compare", "config", "cross_mounts", "description", "dialect", "ids", "image", "in_child",
        "in_place", "instance_file", "keep_modified", "limits", "log", "mount", "name", "open_image",
        "pending_in_config", "rootfs", "state_folder", "time_limit", "triggers", "use_cache",
    )  # fmt: skip

    def __init__(
        self,
        options: "Options",
        *,
        name: str,
        rootfs: str,
        image: str,
        state_folder: str = "",
        instance_file: str = "",
        open_image: "Root | None" = None,
        description: "Source | None" = None,
        config: "Mapping[str, str] | None" = None,
        triggers: "tuple[str, ...]" = (),
        pending_in_config: bool = False,
        compare: bool = False,
        ids: "IdMap | None" = None,
        cross_mounts: bool = False,
        mount: "Callable[[], None] | None" = None,
    ) -> None:
        self.name = name
        self.rootfs = rootfs
        self.image = image
        self.state_folder = state_folder or image
        self.instance_file = options.instance or instance_file
        self.open_image = open_image
        self.description = description
        self.config: Mapping[str, str] = config or {}
        self.triggers = options.triggers or triggers
        self.pending_in_config = pending_in_config
        self.compare = compare
        self.ids = ids
        self.cross_mounts = cross_mounts
        self.mount = mount
        self.cache = options.cache
        self.dialect = options.dialect
        self.in_child = options.in_child
        self.in_place = options.in_place
        self.keep_modified = options.keep_modified
        self.limits = options.limits
        self.log = options.log
        self.time_limit = options.time_limit
        self.use_cache = options.use_cache


def require_unshared(folder: str) -> None:
    """Raise RefusedError if other users can write to a directory or replace it.

    For example, ``lxc-start -f /tmp/a.conf`` makes ``/tmp`` an instance directory. Any user can then add a
    metadata.yaml, and the hook would write that user's files as root.
    """
    place = shared_place(folder)
    if place:
        files = "its files" if place == abspath(folder) else f"'{printable(folder)}'"
        raise RefusedError(
            f"other users can write to '{printable(place)}', so {files} may belong to another user",
            hint="let only its owner write to the directory, or give --source and --state",
        )


def shared_place(folder: str) -> str:
    """Return the first directory by which other users can put files into a directory, or "".

    That is the directory itself, or a directory on the way. In a sticky directory such as ``/tmp``, users can
    replace only their own names.
    """
    here, ahead = "/", abspath(folder).split("/")[::-1]
    try:
        for _ in range(MOST_COMPONENTS):
            if not ahead:
                return here if is_shared(here, os.lstat(here)) else ""
            name = ahead.pop()
            if name in ("", "."):
                continue
            if name == "..":
                here = dirname(here)
                continue
            status = os.lstat(here)
            if not status.st_mode & stat.S_ISVTX and is_shared(here, status):
                return here
            place = join(here, name)
            if islink(place):
                target = os.readlink(place)
                here = "/" if target.startswith("/") else here
                ahead += target.split("/")[::-1]
            else:
                here = place
    except OSError:
        return ""  # opening the directory later reports the error
    return here


def is_shared(place: str, status: "os.stat_result") -> bool:
    """Return whether users other than root, the owner and the hook's user can write to a directory."""
    if status.st_mode & stat.S_IWOTH:
        return True
    if not status.st_mode & stat.S_IWGRP:  # with an ACL, the bits of the group are the limit of all entries
        return False
    # many systems give each user a group of the same number
    if status.st_gid not in (0, os.getegid(), status.st_uid):
        from .lxc_config import own_map

        # lxc-usernsexec maps the group of the user who owns the container as a range of one id
        if not any(first == status.st_gid and count == 1 for first, _, count in own_map("gid_map")):
            return True
    return _acl_lets_write(place)


#: tags of the entries of an ACL for a named user and a named group
_ACL_NAMED = (2, 8)


def _acl_lets_write(folder: str) -> bool:
    """Return whether an ACL lets a named user or group write to a directory."""
    try:
        acl = os.getxattr(folder, "system.posix_acl_access")
    except OSError:
        return False
    # four bytes of version, and then eight bytes for each entry: tag, permissions, id
    return any(acl[at] in _ACL_NAMED and acl[at + 2] & 2 for at in range(4, len(acl), 8))


class Notice:
    """An event that needs no rendering. ``text``, if it is not empty, is logged in ``state_folder``."""

    __slots__ = ("state_folder", "text")

    def __init__(self, text: str = "", state_folder: str = "") -> None:
        self.text = text
        self.state_folder = state_folder
