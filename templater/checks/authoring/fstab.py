"""A line of `/etc/fstab` has too few fields, or a word where a number belongs.

A line of `/etc/fstab` has six fields: a source, a directory, a type, options, and two numbers. Only
the first three are required.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..mistakes_in_files import Mistake, mistakes_of, numbered
from ..rendered_files import File


@check("fstab", "error", "a line of /etc/fstab with missing or wrong fields")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    yield from mistakes_of(image, ("fstab",), find)


def find(file: File) -> Iterator[Mistake]:
    for number, line in numbered(file.text or ""):
        fields = line.split()
        if len(fields) < 3:
            yield number, f"a line needs a source, a directory and a type, but has {len(fields)} fields"
        elif len(fields) > 6 and not fields[6].startswith("#"):
            yield number, f"a line has at most 6 fields, not {len(fields)}"
        else:
            for text in fields[4:6]:
                if not text.isdigit() and not text.startswith("#"):
                    yield number, f"'{printable(text)}' is not a number"
