"""From what the command line says to a plan: the one way that preview, diff, apply and watch share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import output

if TYPE_CHECKING:
    from ..hosts import Host
    from ..plan import Plan
    from .options import Description


def planned(
    src: str,
    instance: Description,
    *,
    triggers: tuple[str, ...],
    rootfs: str | None,
    host: Host,
    dialect: str | None,
    in_place: bool = False,
) -> Plan:
    """Read everything and plan; what reading had to assume is said on stderr."""
    from ..image import open_image
    from ..plan import plan

    image = open_image(src)
    described = instance.read()
    for note in described.notes:
        output.say(f"note: {note}")
    view = None
    if rootfs is not None:
        from ..rootfs.directory import DirectoryRootfs

        view = DirectoryRootfs(rootfs)
    return plan(
        image,
        described,
        triggers=triggers,
        rootfs=view,
        host=host,
        dialect=dialect,
        in_place=in_place,
    )
