"""The `expiry` of a definition gives no duration, or a duration that the author probably did not intend.

A duration is a number with a unit: `s`, `m`, `h`, `d` or `w`. distrobuilder and lxd-imagebuilder read `1d12h`
as 12 hours. If the text is invalid, such as `1y`, the image is expired as soon as it is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Observation, check


@check(
    "image-expiry",
    "warning",
    "an expiry that the build misreads or cannot read",
    hint="write one number and one unit, such as 36h, 30d or 4w",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    if image.definition is None:
        return
    from ...definitions.predicted_image import expiry_seconds

    definition = image.definition.definition
    text = definition.data["image"]["expiry"]
    if re.fullmatch("0*[1-9][0-9]*[smhdw]", text):
        return
    seconds = expiry_seconds(text)
    message = (
        f"the expiry '{printable(text)}' means {seconds} seconds"
        if seconds
        else f"the expiry '{printable(text)}' can't be read, so the new image is expired"
    )
    yield Observation(message, definition.span("image.expiry", "image"))
