"""The hook for Incus: ``raw.lxc`` runs it right after Incus has rendered the templates.

With ``--rootfs``, templater writes to a copy of the root filesystem. Without ``--rootfs``, templater only
reports the files that it would write differently than Incus.
"""

from ...model.errors import UsageError
from ...model.file_names import BACKUP_YAML, METADATA
from ...model.unprintable_characters import printable
from ...oslite import dirname, is_missing, join
from ...rootfs.trusted_paths import open_unshared
from ..container_state_folder import make_state_folder
from ..lxc_config import ids_on_disk
from ..request import HookRequest, Notice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..install import Snippet
    from ..options import Options

INSTANCES = "/var/lib/templater/incus"


def read_request(options: "Options", environ: "Mapping[str, str]") -> "HookRequest | Notice":
    if "LXC_ROOTFS_PATH" not in environ or "LXC_NAME" not in environ:
        raise UsageError(
            "Incus did not call this hook through raw.lxc",
            hint="to install a hook, run: templater hook install incus",
        )
    name = environ["LXC_NAME"]
    if not name or "/" in name or name in (".", "..") or not name.isprintable():
        raise UsageError(f"invalid instance name '{printable(name)}'")
    rootfs = environ["LXC_ROOTFS_PATH"]
    beside = dirname(rootfs)
    if not options.source and is_missing(join(beside, METADATA)):
        return Notice()  # for Incus, an image without metadata.yaml has no templates
    compare = not options.rootfs
    # outside the instance's volume, because Incus copies and restores volumes
    state = options.state or make_state_folder(join(INSTANCES, name))
    return HookRequest(
        options, name=name, rootfs=options.rootfs or rootfs, image=options.source or beside,
        state_folder=state, instance_file=join(beside, BACKUP_YAML),
        # The container's root owns this directory, but root owns a rootfs with an id-mapped mount. Without an
        # open directory, such a rootfs would be refused.
        open_folders={beside: open_unshared(beside)},
        # users of Incus can make and delete any number of instances, and each would leave a cache
        pending_in_config=True, compare=compare, use_cache=bool(options.cache),
        ids=ids_on_disk(environ.get("LXC_CONFIG_FILE", "")) if compare else None,
    )  # fmt: skip


def snippet(name: str, words: "list[str]", _path: str) -> "Snippet":
    """Return the value of the instance's configuration key ``raw.lxc``."""
    from ..install import Snippet, argv, require_utf8, shell_line

    if name:
        raise UsageError(f"unexpected name '{name}': a hook line for Incus contains no container name")
    line = argv("incus", words)
    require_utf8(line, "a key of Incus")
    return Snippet(
        "raw.lxc",
        f"lxc.hook.pre-start = {shell_line(line)}\n",
        by_hand='raw.lxc is a key, not a file; run: incus config set NAME raw.lxc "$(templater hook …)"',
    )
