"""Output of a plan's files to a new directory or tar file, for ``preview -o``."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ..model.errors import RefusedError, UsageError, WriteError, reason
from ..model.plan import FAILED, SKIP, carry_out
from ..model.unprintable_characters import printable
from ..writing.new_folder import FolderDestination

if TYPE_CHECKING:
    from ..model.plan import Change, Plan


def check_target(target: str, *, reuse: bool) -> None:
    """Check the name of the output before any work. Raise UsageError or RefusedError if it is unsuitable."""
    if PACKED.search(target):
        raise UsageError(
            f"can't write '{printable(target)}': -o writes a directory or an uncompressed .tar file",
            hint=f"use -o {printable(PACKED.sub('.tar', target))}, and compress that file",
        )
    if target.endswith(".tar") and os.path.lexists(target) and not reuse:
        raise RefusedError(f"'{printable(target)}' exists", hint="add --reuse to replace the file")


PACKED = re.compile(r"\.(tar\.[a-z0-9]+|tgz|tbz2?|txz|tzst|zip)$", re.IGNORECASE)


def write_tree(plan: Plan, target: str) -> None:
    """Write a plan's files to a new or empty directory, or to a tar file.

    Only the current user can access the output. Setuid and setgid bits are removed. Raises WriteError if
    writing fails.
    """
    changes = rendered(plan)
    try:
        if target.endswith(".tar"):
            write_tar(changes, target)
        else:
            with FolderDestination(target) as folder:
                carry_out(changes, folder)
    except OSError as error:
        raise WriteError(f"can't write '{printable(target)}': {reason(error)}") from error


def rendered(plan: Plan) -> list[Change]:
    """Return the last ``Change`` of each file, sorted by resolved path.

    Files that keep their content are included.
    """
    last = {
        change.real: change
        for change in plan.changes
        if change.action not in (FAILED, SKIP) and change.content is not None
    }
    return [last[path] for path in sorted(last)]


def write_tar(changes: list[Change], target: str) -> None:
    """Write a temporary tar file and rename it, so that no reader sees an incomplete file."""
    from ..image.memory_rootfs_tar import save_tar
    from ..rootfs.memory_rootfs import MemoryRootfs

    tree = MemoryRootfs()
    for change in changes:
        # Files of a virtual machine are named after their templates, without a directory.
        change.real = "/" + change.real.lstrip("/")
        # Remove setuid and setgid bits, because an untrusted image decides the content of the files.
        change.mode &= 0o1777
    carry_out(changes, tree)
    save_tar(tree, target)
