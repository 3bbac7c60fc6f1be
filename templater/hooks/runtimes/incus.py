"""A second pair of eyes in Incus: ``raw.lxc`` runs this right after Incus's own templates.

Incus keeps metadata.yaml, templates and backup.yaml beside the root filesystem; backup.yaml was
written just before the start and describes the instance, its pending trigger included. With
``--rootfs`` templater writes to a copy of the root filesystem; without, it only says what it would
have written otherwise than Incus did.
"""

from ...instances.directory import METADATA
from ...model.errors import UsageError, WriteError, reason
from ...model.source import printable
from ...oslite import dirname, exists, join
from ..run import Noted, Start
from .lxc import ids_on_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..install import Snippet
    from ..options import Options

BACKUP = "backup.yaml"
INSTANCES = "/var/lib/templater/incus"


def situation(options: "Options", environ: "Mapping[str, str]") -> "Start | Noted":
    if "LXC_ROOTFS_PATH" not in environ or "LXC_NAME" not in environ:
        raise UsageError(
            "this is not a raw.lxc hook", hint="templater hook install incus says how to make it one"
        )
    name = environ["LXC_NAME"]
    if not name or "/" in name or name in (".", "..") or not name.isprintable():
        raise UsageError(f"'{printable(name)}' is no name of an instance")
    rootfs = environ["LXC_ROOTFS_PATH"]
    image = dirname(rootfs)
    if not options.source and not exists(join(image, METADATA)):
        return Noted("")  # to Incus that is an image without templates
    start = Start(name, options.rootfs or rootfs, options.source or image)
    start.state_directory = options.state or _state_folder(name)
    start.instance = join(image, BACKUP)
    start.pending_in_config = True
    start.compare = not options.rootfs
    start.ids = ids_on_disk(environ.get("LXC_CONFIG_FILE", "")) if start.compare else None
    return start


def _state_folder(name: str) -> str:
    """Not in Incus's own volume, which it copies, backs up and restores."""
    from os import makedirs

    path = join(INSTANCES, name)
    try:
        makedirs(path, 0o700, exist_ok=True)
    except OSError as error:
        raise WriteError(f"can't make '{path}': {reason(error)}", hint="see --state") from None
    return path


def snippet(name: str, words: "list[str]", _path: str) -> "Snippet":
    """The value of ``raw.lxc``."""
    from ..install import Snippet, argv, shell_line

    if name:
        raise UsageError(f"what incus needs is for all containers: '{name}' says nothing to it")
    return Snippet(
        "raw.lxc",
        f"lxc.hook.pre-start = {shell_line(argv('incus', words))}\n",
        by_hand='Incus keeps raw.lxc itself: incus config set NAME raw.lxc "$(templater hook …)"',
    )
