"""A line of `/etc/resolv.conf` has an unknown keyword, or no valid address after `nameserver`."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..mistakes_in_files import Mistake, mistakes_of, numbered
from ..rendered_files import File
from .hosts import is_address

KEYWORDS = ("domain", "lookup", "nameserver", "options", "search", "sortlist", "family")


@check("resolv-conf", "warning", "a line of /etc/resolv.conf that the resolver ignores")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    yield from mistakes_of(image, ("resolv.conf",), find)


def find(file: File) -> Iterator[Mistake]:
    for number, line in numbered(file.text or ""):
        word, *values = line.split()
        if word.startswith(";"):
            continue
        if word not in KEYWORDS:
            yield number, f"unknown keyword '{printable(word)}'"
        elif word == "nameserver" and not (values and is_address(values[0])):
            yield number, "'nameserver' needs an IP address"
