"""A destination that writes a plan's files to a new folder, owned by the caller."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..model.errors import RefusedError
from ..model.source import printable

if TYPE_CHECKING:
    from ..model.plan import Change


class FolderDestination:
    """A new or empty folder. Files belong to the caller, without setuid and setgid bits.

    Raises RefusedError if the folder is not empty.
    """

    def __init__(self, path: str) -> None:
        os.makedirs(path, exist_ok=True)
        if os.listdir(path):
            raise RefusedError(
                f"'{printable(path)}' is not empty",
                hint="give a new folder, or use `templater apply` for a rootfs",
            )
        self.path = path

    def carry_out(self, change: Change) -> None:
        path = os.path.join(self.path, change.real.lstrip("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(change.content or b"")
        os.chmod(path, change.mode & 0o1777)
