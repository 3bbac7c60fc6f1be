"""From what the command line says to a plan: the one way that preview, diff, apply and watch share."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from . import output

if TYPE_CHECKING:
    from ..limits import Given
    from ..model.entry import RootfsView
    from ..model.hosts import Host
    from ..model.plan import Plan
    from ..pongo2.state import Limits
    from ..rootfs.directory import DirectoryRootfs
    from .options import Description


#: for one template. Ours take milliseconds; a hostile one may make every step of its many a long one
SECONDS = 60.0
#: for all of an image's templates together: a hostile image may have thousands
TOTAL = 120.0


def rendering(given: Given) -> Limits:
    """What rendering may take when a person waits for it."""
    return given.for_rendering(SECONDS, TOTAL)


def planned(
    src: str,
    instance: Description,
    *,
    triggers: tuple[str, ...],
    host: Host,
    dialect: str | None,
    limits: Given,
    rootfs: RootfsView | None = None,
    in_place: bool = False,
) -> Plan:
    """Read everything and plan; what reading had to assume is said on stderr."""
    from ..image.open import open_image
    from ..model.options import RenderOptions
    from ..planning.planner import plan_image

    image = open_image(src, limits.for_images())
    described = instance.read(src)
    for note in described.notes:
        output.say(f"note: {note}")
    made = plan_image(
        image, described, RenderOptions(host, dialect or "", limits=rendering(limits)),
        triggers=triggers, rootfs=rootfs, reading=limits.for_reading(), in_place=in_place,
    )  # fmt: skip
    for finding in made.metadata.findings:
        output.say(f"note: {finding.span.place}: {finding.message}")
    if not image.complete:
        output.say("note: the archive was read up to its last template; `templater audit` reads all of it")
    return made


def open_rootfs(
    path: str | None, *, cross_mounts: bool = False
) -> AbstractContextManager[DirectoryRootfs | None]:
    """The root filesystem that was named, to be closed after use; nothing where none was."""
    if path is None:
        return nullcontext()
    from ..rootfs.directory import DirectoryRootfs, refuse_link

    refuse_link(path)
    return DirectoryRootfs(path, cross_mounts=cross_mounts)
