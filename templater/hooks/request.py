"""Requests to a hook, and functions that read the files of a request.

A request is made from the options of the hook line and the data of the runtime.
"""

from ..instances.instance_directory import MAX_INSTANCE, InstanceDirectory
from ..model.source import Source
from ..oslite import os, split
from ..rootfs.confined_root import Root
from ..rootfs.trusted_paths import clean_path, open_unshared, trusted_owners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..rootfs.id_map import IdMap
    from .options import Options


class HookRequest:
    """A request to render an image for a container and to write the files into its root filesystem.

    The attributes are not changed after ``__init__``. The class ``Options`` describes the attributes that are
    missing in this list:

    * ``name``: the container's name from the runtime, or "" to use the name in the description
    * ``rootfs``: the path of the root filesystem
    * ``mount``: a function to call before the root filesystem is opened. The function returns True if it has
      mounted the root filesystem in a new mount namespace.
    * ``image``: the directory with metadata.yaml and templates
    * ``open_image``: the open directory ``image``, if an annotation names the image. The hook does not open
      the directory again by name, and ignores its instance.yaml.
    * ``state_folder``: the directory that contains ``.templater``
    * ``open_folders``: open directories by path. The hook does not open them again by name.
    * ``instance_file``: the description's file, or "" for instance.yaml in ``state_folder`` or ``image``
    * ``description``: the text of the instance's description, if an annotation names the file
    * ``config``: configuration keys from the runtime
    * ``triggers``: the triggers to run; if empty, the pending trigger and then start
    * ``pending_in_config``: read the pending trigger from the instance's volatile.apply_template
    * ``compare``: write nothing, and fail if the files in the root filesystem differ from the result
    * ``ids``: the id map, or None to guess the map from the root filesystem's owner
    * ``owner``: the checked uid and gid of the root directory, or None if they were not checked
    * ``cross_mounts``: follow paths through mount points
    * ``mounts``: the clean paths in the container at which the runtime mounts file systems after the hook
    * ``empty_mounts``: the paths in ``mounts`` that show an empty directory
    * ``spare_hidden``: do not write a file at a path in ``mounts``. runc and crun have already mounted
      something there, in another namespace. Replacing the file would remove the mount.
    * ``mounts_hint``: advice for the error message about a mount that would hide a file
    * ``use_cache``: keep compiled templates, unless an option forbids it
    * ``root``: the identity of the root directory, or "" if the state can't outlive the container
    """

    __slots__ = (
        "cache", "compare", "config", "cross_mounts", "description", "dialect", "empty_mounts", "ids",
        "image", "in_child", "in_place", "instance_file", "keep_modified", "limits", "log", "mount",
        "mounts", "mounts_hint", "name", "open_folders", "open_image", "options", "owner",
        "pending_in_config", "root", "rootfs", "spare_hidden", "state_folder", "time_limit", "triggers",
        "use_cache",
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
        open_folders: "Mapping[str, Root] | None" = None,
        open_image: "Root | None" = None,
        description: "Source | None" = None,
        config: "Mapping[str, str] | None" = None,
        triggers: "tuple[str, ...]" = (),
        pending_in_config: bool = False,
        compare: bool = False,
        ids: "IdMap | None" = None,
        owner: "tuple[int, int] | None" = None,
        cross_mounts: bool = False,
        mount: "Callable[[], bool] | None" = None,
        mounts: "tuple[str, ...]" = (),
        empty_mounts: "tuple[str, ...]" = (),
        spare_hidden: bool = False,
        mounts_hint: str = "",
        use_cache: bool = True,
        root: str = "",
    ) -> None:
        self.options = options
        self.name = name
        self.rootfs = rootfs
        self.image = image
        self.state_folder = state_folder or image
        self.instance_file = options.instance or instance_file
        self.open_folders: Mapping[str, Root] = open_folders or {}
        self.open_image = open_image
        self.description = description
        self.config: Mapping[str, str] = config or {}
        self.triggers = options.triggers or triggers
        self.pending_in_config = pending_in_config
        self.compare = compare
        self.ids = ids
        self.owner = owner
        self.cross_mounts = cross_mounts
        self.mount = mount
        self.mounts = mounts
        self.empty_mounts = empty_mounts
        self.spare_hidden = spare_hidden
        self.mounts_hint = mounts_hint
        self.root = root
        self.cache = options.cache
        self.dialect = options.dialect
        self.in_child = options.in_child
        self.in_place = options.in_place
        self.keep_modified = options.keep_modified
        self.limits = options.limits
        self.log = options.log
        self.time_limit = options.time_limit
        self.use_cache = options.use_cache and use_cache


class Notice:
    """An event that needs no rendering. ``text``, if it is not empty, is logged in ``state_folder``."""

    __slots__ = ("state_folder", "text")

    def __init__(self, text: str = "", state_folder: str = "") -> None:
        self.text = text
        self.state_folder = state_folder


def open_image_of(request: HookRequest, folder: Root) -> "Root | None":
    """Return the image's open directory, or None if ``--source`` names the image.

    Raises RefusedError if other users can write to the directory.
    """
    if request.open_image is not None or request.options.source:
        return request.open_image
    opened = {**request.open_folders, request.state_folder: folder}.get(request.image)
    if opened is None:
        return open_unshared(request.image)
    return Root(opened.name, fd=os.dup(opened.fd), named=True)


def description_of(request: HookRequest, image: InstanceDirectory, folder: Root) -> "Source | None":
    """Read the instance's description from the request.

    If the request has no description, read instance.yaml.
    """
    if request.instance_file:
        return _read_file(request)
    if request.description is not None:
        return request.description
    if request.state_folder != request.image:
        found = InstanceDirectory(request.state_folder, folder).read_instance()
        if found is not None:
            return found
    # an image that an annotation names must not also supply the instance's description
    return image.read_instance() if request.open_image is None else None


def _read_file(request: HookRequest) -> Source:
    folder, name = split(clean_path(request.instance_file))
    owners = trusted_owners(request.rootfs) if request.options.instance else ()
    with open_unshared(folder, owners) as root:
        return Source(request.instance_file, root.read("/" + name, MAX_INSTANCE))
