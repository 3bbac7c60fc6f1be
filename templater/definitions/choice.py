"""The user's choice of one build of a definition."""

from __future__ import annotations

from typing import NamedTuple

from ..model.errors import UsageError
from ..model.unprintable_characters import printable

CONTAINER, VM = "container", "vm"


class Choice(NamedTuple):
    """The user's options for a build: ``-o KEY=VALUE``, the type, and the root filesystem to unpack.

    ``rootfs`` is a directory, or the text ``none`` for an empty root filesystem. If ``rootfs`` is None, the
    root filesystem is assumed to have every path that the build looks up.

    If ``files`` is not None, it has the paths and contents of the files in the root filesystem, and
    ``rootfs`` is ignored.
    """

    parameters: tuple[str, ...] = ()
    type: str = CONTAINER
    rootfs: str | None = None
    #: the time of the build in seconds since 1970; None is the current time
    now: int | None = None
    files: tuple[tuple[str, str], ...] | None = None

    def refuse_parameters(self, path: str) -> None:
        """Raise UsageError if parameters are given for a SRC that is not a definition."""
        if self.parameters:
            raise UsageError(
                f"-o {printable(self.parameters[0])} is for definitions, and '{printable(path)}' is not one"
            )


DEFAULT_BUILD = Choice()
