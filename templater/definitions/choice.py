"""The user's choice of one build of a definition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..model.errors import UsageError
from ..model.unprintable_characters import printable

CONTAINER, VM = "container", "vm"
#: maximum number of variants or files that a note names
MOST_NAMED = 5


class Choice(NamedTuple):
    """The user's options for a build: ``-o KEY=VALUE``, the type, and the root filesystem to unpack.

    * ``rootfs`` is a directory, or ``none`` for an empty root filesystem.
    * If ``rootfs`` is None, every path that the build looks up is assumed to exist.
    * ``files`` has the paths and contents of a root filesystem's files. It overrides ``rootfs``.
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
                f"-o {printable(self.parameters[0])} is for definitions,"
                f" but '{printable(path)}' is not a definition"
            )

    def unknown_variant(self, data: Mapping[str, Any], text: str) -> str:
        """Return a note if the definition does not name the variant that the user has chosen, else "".

        ``data`` has the definition's values, and ``text`` is its source text.
        """
        variant = data["image"]["variant"]
        known = list(dict.fromkeys(_variants_in(data)))
        chosen = any(each.startswith("image.variant=") for each in self.parameters)
        if not chosen or not known or variant == "default" or variant in text:
            return ""
        shown = ", ".join(printable(name) for name in known[:MOST_NAMED])
        more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
        return (
            f"the definition does not name the variant '{printable(variant)}'; its filters name {shown}{more}"
        )


def _variants_in(data: Any) -> Iterator[str]:
    """Yield the variants that the filters of a definition name."""
    if isinstance(data, Mapping):
        named = data.get("variants")
        yield from named if isinstance(named, list) else ()
    for each in data.values() if isinstance(data, Mapping) else data if isinstance(data, list) else ():
        yield from _variants_in(each)


DEFAULT_BUILD = Choice()
