"""How much of an image is read before it counts as an attack."""

from __future__ import annotations

from dataclasses import dataclass

from ..model.errors import LimitError
from ..model.source import printable

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Every reader of images takes these. A real distribution image stays below a hundredth of each."""

    #: the daemons stop at this since CVE-2026-41648
    metadata_bytes: int = MIB
    template_bytes: int = 16 * MIB
    templates_bytes: int = 64 * MIB
    members: int = 5_000_000
    #: one pax header, GNU long name or sparse map
    header_bytes: int = MIB
    #: path of a member: PATH_MAX
    name_bytes: int = 4096
    #: what an archive may grow to
    unpacked_bytes: int = 256 * GIB
    #: unpacked over packed, looked at from ``ratio_from`` unpacked bytes on
    ratio: int = 1000
    ratio_from: int = 256 * MIB
    #: what a decompressor may allocate for its window
    window_bytes: int = 512 * MIB


DEFAULT = Limits()

#: folders above a name of a root filesystem, for whoever reads or writes one: what is deeper can be made,
#: but hardly be removed again, as most programs recurse
DEEPEST = 500


def refuse_deep(name: str) -> None:
    """``name`` is relative to its root filesystem."""
    if name.count("/") > DEEPEST:
        raise LimitError(f"'{printable(name[:100])}…' lies more than {DEEPEST} folders deep")
