"""`/etc/hostname` does not contain a valid name.

The file must contain only the hostname. A hostname consists of letters, digits, `-` and `.`.

    hostname=web1     wrong
    web1              right
"""

from __future__ import annotations

from collections.abc import Iterator
from string import ascii_letters, digits

from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..mistakes_in_files import Mistake, mistakes_of, numbered
from ..rendered_files import File

ALLOWED = frozenset(ascii_letters + digits + "-._")


@check("hostname", "error", "a hostname file without a valid name")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    yield from mistakes_of(image, ("hostname",), find)


def find(file: File) -> Iterator[Mistake]:
    for count, (number, line) in enumerate(numbered(file.text or "")):
        if count:
            yield number, "the file contains more than one hostname"
            return
        if wrong := next((character for character in line if character not in ALLOWED), ""):
            yield number, f"a hostname cannot contain '{printable(wrong)}'"
            return
