"""netplan's generator, which reads netplan files and writes files for networkd."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..validator import Mistake, program, short

_LINE = re.compile(
    r".*etc/netplan/[^/]+\.yaml(?::(\d{1,9}):\d+)?: (?:Error in network definition: |(?=Invalid YAML))(.+?):?"
)
#: messages about a device that another file can define, and about a program that this machine lacks
_ELSEWHERE = re.compile(r"is not defined$|'ovs-vsctl' tool is required")


def read(lines: list[str], name: str) -> Iterator[Mistake]:
    for line in lines:
        found = _LINE.fullmatch(line)
        if found and not _ELSEWHERE.search(line):
            yield int(found[1] or 1), short(found[2])


NETPLAN = program(
    "netplan",
    "netplan files",
    ("/usr/libexec/netplan/generate", "/usr/lib/netplan/generate", "/lib/netplan/generate"),
    ("--root-dir", "{folder}"),
    read,
    _ELSEWHERE.pattern,
    folder="etc/netplan/",
)
