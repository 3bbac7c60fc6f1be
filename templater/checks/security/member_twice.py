"""Names of the root filesystem that come twice: what unpacks them decides which one counts."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.entry import DIRECTORY
from ...model.source import printable
from ..survey import Sight, Survey, check


@check("member-twice", "medium", "a name of the root filesystem that comes twice: `unpack` refuses it")
def look(survey: Survey) -> Iterator[Sight]:
    kinds: dict[str, str] = {}
    twice: dict[str, None] = {}
    for name in survey.names:
        if name.path.startswith("rootfs/"):
            before = kinds.setdefault(name.path, "")
            if before and not before == name.entry.kind == DIRECTORY:
                twice[name.path] = None
            kinds[name.path] = name.entry.kind
    if twice:
        first = next(iter(twice))
        yield Sight(f"{len(twice)} come twice in the root filesystem: {printable(first)}", first)
