"""A network configuration for ifupdown has a syntax error, so that no interface starts.

ifupdown's `ifquery` reads the file, if it is installed. Only images of Debian and Ubuntu (the property
`os`) are checked, because other distributions have another ifupdown.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored import AuthoredImage
from ..base import Observation, check
from ..rendered import mistakes_of, validated

FAMILY = ("debian", "ubuntu")


@check("interfaces", "error", "a file for ifupdown that it rejects", validated=True)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    if image.os in FAMILY:
        yield from mistakes_of(
            image,
            ("interfaces",),
            lambda file: (),
            lambda file: validated(image, "ifquery", file, "interfaces"),
        )
