"""A line of `/etc/hosts` is not an IP address followed by names."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..mistakes_in_files import Mistake, mistakes_of, numbered
from ..rendered_files import File


@check("hosts", "error", "a line of /etc/hosts that lacks an address or a name")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    yield from mistakes_of(image, ("hosts",), find)


def find(file: File) -> Iterator[Mistake]:
    for number, line in numbered(file.text or ""):
        fields = line.partition("#")[0].split()
        if not is_address(fields[0]):
            yield number, f"'{printable(fields[0][:60])}' is not an IP address"
        elif len(fields) < 2:
            yield number, f"no name follows the address {fields[0]}"


def is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
