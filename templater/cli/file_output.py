"""A plan's files in a folder or a tar of their own, away from any root filesystem."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ..model.errors import RefusedError, UsageError, WriteError, reason
from ..model.plan import FAILED, SKIP, carry_out
from ..model.source import printable
from ..writing.folder import FolderDestination

if TYPE_CHECKING:
    from ..model.plan import Change, Plan


def check_target(target: str, *, reuse: bool) -> None:
    """Refuse a name that asks for something else than what would be made, before any work."""
    if PACKED.search(target):
        raise UsageError(
            f"'{printable(target)}': a tar is written unpacked, and a folder is hardly called that",
            hint=f"-o {printable(PACKED.sub('.tar', target))}, and compress that",
        )
    if target.endswith(".tar") and os.path.lexists(target) and not reuse:
        raise RefusedError(f"'{printable(target)}' exists", hint="--reuse replaces it")


PACKED = re.compile(r"\.(tar\.[a-z0-9]+|tgz|tbz2?|txz|tzst|zip)$", re.IGNORECASE)


def write_tree(plan: Plan, target: str) -> None:
    """``FILE.tar`` keeps owners without being root; a folder must be new or empty.

    A setuid file that a rule writes to stays setuid in its container. A copy lies on this machine,
    with the image's content: it doesn't.
    """
    changes = rendered(plan)
    try:
        if target.endswith(".tar"):
            write_tar(changes, target)
        else:
            carry_out(changes, FolderDestination(target))
    except OSError as error:
        raise WriteError(f"can't write '{printable(target)}': {reason(error)}") from error


def rendered(plan: Plan) -> list[Change]:
    """What each file holds at the end, by where it leads; untouched ones included."""
    last = {
        change.real: change
        for change in plan.changes
        if change.action not in (FAILED, SKIP) and change.content is not None
    }
    return [last[path] for path in sorted(last)]


def write_tar(changes: list[Change], target: str) -> None:
    """Write beside the target and rename, so that no reader sees half of it."""
    from ..image.rootfs_tar import save_tar
    from ..rootfs.memory import MemoryRootfs

    tree = MemoryRootfs()
    for change in changes:
        # a virtual machine's files are named after their templates, without a folder
        change.real = "/" + change.real.lstrip("/")
        change.mode &= 0o1777
    carry_out(changes, tree)
    save_tar(tree, target)
