"""systemd-analyze, which reads a unit.

The validator reports only syntax errors, not missing commands or dependencies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..validator import Mistake, program, short

#: messages about settings that systemd on this machine ignores, although a newer systemd in the image may
#: know them
_UNKNOWN = re.compile(r"Unknown (key|section|lvalue)")
#: advice about settings that work
_ADVICE = re.compile(
    r"deprecated|obsolete|please use|please update|legacy|unsafe|marked (executable|world-)", re.IGNORECASE
)


def read(lines: list[str], name: str) -> Iterator[Mistake]:
    """Yield the messages about the validated unit.

    Ignore a message without a line number, unless it says that systemd refuses the unit.
    """
    place = re.compile(rf"(?:.*/)?{re.escape(name)}:(\d{{1,9}}): (.+)")
    for line in lines:
        if _ADVICE.search(line):
            continue
        if found := place.fullmatch(line):
            yield int(found[1]), short(found[2]), "warning" if _UNKNOWN.match(found[2]) else "error"
        elif line.startswith(f"{name}: ") and line.endswith("Refusing."):
            yield 1, short(line.removeprefix(f"{name}: ").removesuffix(" Refusing."))


SYSTEMD_ANALYZE = program(
    "systemd-analyze",
    "systemd units",
    ("systemd-analyze",),
    ("verify", "--man=no", "--recursive-errors=no", "{folder}/{name}"),
    read,
    r"^\S+\.[a-z]+(:\d+)?: |^(Unit|Failed to load) \S+\.[a-z]+",  # the message is about a whole unit
)
