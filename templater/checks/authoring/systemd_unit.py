"""A line of a systemd unit or a `.network` file is neither a section nor an assignment.

systemd ignores such a line, and an assignment before the first section.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.source import printable
from ..authored import AuthoredImage, File
from ..base import Observation, check
from ..rendered import Mistake, mistakes_of


@check("systemd-unit", "error", "a line of a systemd file that systemd ignores")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    yield from mistakes_of(image, ("unit",), find)


def find(file: File) -> Iterator[Mistake]:
    section = continued = False
    for number, line in enumerate((file.text or "").split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        begins, continued = not continued, stripped.endswith("\\")
        if not begins:
            continue
        if stripped[0] == "[":
            section = True
            if not stripped.endswith("]"):
                yield number, f"the section '{printable(stripped[:60])}' has no ']'"
        elif "=" not in stripped:
            yield number, f"'{printable(stripped[:60])}' has no '='"
        elif not section:
            yield number, "the assignment is outside of a section"
