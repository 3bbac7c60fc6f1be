"""Where the changes of a plan go: a root filesystem in memory, a folder, or a tar archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.plan import Change


class Destination(Protocol):
    """Takes one writing change after the other. ``apply`` writes to a disk, and takes all of them at once."""

    def carry_out(self, change: Change) -> None:
        """Make a change's missing parents, and its file with content, mode and owner."""


def carry_out(changes: Iterable[Change], destination: Destination) -> None:
    """Hand each change to a destination."""
    for change in changes:
        destination.carry_out(change)
