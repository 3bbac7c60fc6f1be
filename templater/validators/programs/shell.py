"""Shells, which check the syntax of a script without running it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..validator import Mistake, program, short

_LINE = re.compile(r"(?:.*/)?script: (?:line )?(\d{1,9}): (?!warning: )(.+)")


def read(lines: list[str], name: str) -> Iterator[Mistake]:
    """Yield only the first message. Later messages only quote the line, or follow from the first mistake."""
    for line in lines:
        if found := _LINE.fullmatch(line):
            yield int(found[1]), short(found[2])
            return


SH = program("sh", "shell scripts", ("/bin/sh",), ("-n", "{folder}/{name}"), read, "$^")
# A script can set extglob itself, but bash does not run that command while it only parses the script.
BASH = program("bash", "bash scripts", ("bash",), ("-O", "extglob", "-n", "{folder}/{name}"), read, "$^")
