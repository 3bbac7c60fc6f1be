"""systemd-nspawn has no hooks: a drop-in of its service runs templater before the container.

The image and what is remembered of the machine lie in ``/var/lib/templater/NAME``, its root
filesystem is ``/var/lib/machines/NAME``.
"""

from ..errors import UsageError
from ..instance_directory import METADATA
from ..source import printable
from ..system import exists, join
from .run import Noted, Start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .run import Options

MACHINES = "/var/lib/machines"
INSTANCES = "/var/lib/templater"


def situation(options: "Options", _environ: "Mapping[str, str]") -> "Start | Noted":
    if len(options.words) != 1:
        raise UsageError("which machine?", hint="the line of a unit ends with %i")
    name = options.words[0]
    if not name or "/" in name or name in (".", ".."):
        raise UsageError(f"'{printable(name)}' is no name of a machine")
    image = options.source or join(INSTANCES, name)
    if options.if_present and not exists(join(image, METADATA)):
        return Noted("")
    rootfs = options.rootfs or join(MACHINES, name)
    return Start(name, rootfs, image, options.state or image)


def drop_in(line: str) -> str:
    """The unit's part; nspawn itself mounts or shifts ids later, so the directory's owner is the root."""
    return f"[Service]\nExecStartPre={line} %i\n"
