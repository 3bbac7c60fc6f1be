"""What a hook is asked to do, resolved once from its line and from what the runtime says."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..model.source import Source
    from ..rootfs.confined import Root
    from ..rootfs.directory import IdMap
    from .options import Options


class HookRequest:
    """Render an image for a container and write the files into its root filesystem.

    Nothing assigns to a request after it was made. Its attributes:

    ``name``: the runtime's name of the container; empty where the description's counts.
    ``rootfs``: the root filesystem. ``mount`` is called before it is opened.
    ``image``: the directory with metadata.yaml and templates. ``open_image`` is the same, held open, where
    an annotation names it: its name does not count again, and no description in it does.
    ``state_folder``: the directory that contains ``.templater``.
    ``instance_file``: the description's file; empty for instance.yaml beside the state or the image.
    ``description``: the description itself, where an annotation names it.
    ``config``: configuration keys that come from the runtime.
    ``triggers``: empty for the pending trigger and start. With ``pending_in_config`` the pending trigger is
    the one in the instance's volatile.apply_template.
    ``compare``: write nothing, and fail if the files differ from what would be written.
    ``ids``: the map of ids; None for the one that the root filesystem's owner suggests.
    ``cross_mounts``: follow paths through mount points.
    The others are as ``Options`` has them.
    """

    __slots__ = (
        "cache", "compare", "config", "cross_mounts", "description", "dialect", "ids", "image", "in_child",
        "in_place", "instance_file", "limits", "log", "mount", "name", "open_image", "pending_in_config",
        "rootfs", "state_folder", "time_limit", "triggers", "use_cache",
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
        self.limits = options.limits
        self.log = options.log
        self.time_limit = options.time_limit
        self.use_cache = options.use_cache


class Notice:
    """An event that is only logged: ``text``, in the container's ``state_folder``."""

    __slots__ = ("state_folder", "text")

    def __init__(self, text: str = "", state_folder: str = "") -> None:
        self.text = text
        self.state_folder = state_folder
