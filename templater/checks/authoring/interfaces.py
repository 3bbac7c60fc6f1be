"""A network configuration for ifupdown has a syntax error, so no interface starts.

If ifupdown's program `ifquery` is installed, the check runs `ifquery` on the file. The check skips images
whose property `os` is not Debian or Ubuntu: their ifupdown is different.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..mistakes_in_files import mistakes_of, validated

FAMILY = ("debian", "ubuntu")


@check(
    "interfaces", "error", "a network configuration that ifupdown rejects",
    hint="compare the line with `man interfaces`", validated=True,
)  # fmt: skip
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    if image.os in FAMILY:
        yield from mistakes_of(
            image,
            ("interfaces",),
            lambda file: (),
            lambda file: validated(image, "ifquery", file, "interfaces"),
        )
