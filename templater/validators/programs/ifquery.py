"""ifquery of Debian's ifupdown, which reads /etc/network/interfaces."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..validator import Mistake, program, short

_LINE = re.compile(r"ifquery: (?:.*/)?interfaces:(\d{1,9}): (.+)")
#: the beginning of a message about an interface that another file can define
_ELSEWHERE = "unknown iface to inherit from"


def read(lines: list[str], name: str) -> Iterator[Mistake]:
    for line in lines:
        found = _LINE.fullmatch(line)
        if found and not found[2].startswith(_ELSEWHERE):
            yield int(found[1]), short(found[2])


IFQUERY = program(
    "ifquery",
    "ifupdown's interfaces",
    ("ifquery",),
    ("--list", "--all", "--interfaces", "{folder}/{name}"),
    read,
    _ELSEWHERE,
)
