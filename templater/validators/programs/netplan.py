"""The generator of netplan, which writes the configuration of networkd into its folder."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..validator import Mistake, program, short

_LINE = re.compile(r".*etc/netplan/[^/]+\.yaml:(\d+):\d+: (?:Error in network definition: )?(.+?):?")
#: the end of a message about a device that another file can define
_ELSEWHERE = "is not defined"


def read(lines: list[str], name: str) -> Iterator[Mistake]:
    for line in lines:
        found = _LINE.fullmatch(line)
        if found and not line.endswith(_ELSEWHERE):
            yield int(found[1]), short(found[2])


NETPLAN = program(
    "netplan",
    "netplan files",
    ("/usr/libexec/netplan/generate", "/usr/lib/netplan/generate", "/lib/netplan/generate"),
    ("--root-dir", "{folder}"),
    read,
    f"{_ELSEWHERE}$",
    folder="etc/netplan/",
)
