"""visudo, which reads sudo's rules.

The validator reports only syntax errors, not missing aliases or included files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..validator import Mistake, program, short

_LINE = re.compile(r"stdin:(\d{1,9})(?::\d+)?: (?!parsed OK)(.+)")


def read(lines: list[str], name: str) -> Iterator[Mistake]:
    for line in lines:
        if found := _LINE.fullmatch(line):
            yield int(found[1]), short(found[2])


VISUDO = program(
    "visudo",
    "sudoers files",
    ("visudo",),
    ("-c", "-f", "-"),
    read,
    r"^visudo: .+: (No such file or directory|Permission denied)$",  # an included file
    stdin=True,
)
