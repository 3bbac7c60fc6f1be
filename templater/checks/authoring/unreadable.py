"""A part of the image cannot be read, so its contents are not checked.

For example, metadata.yaml is not valid YAML, or a value has a type that the daemons reject. No instance of an
unreadable image starts.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import TemplaterError
from ...model.file_names import METADATA, TEMPLATES
from ..authored_image import AuthoredImage
from ..base import Observation, check


@check("unreadable", "error", "a part of the image that cannot be read")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for error in image.errors:
        yield observation(error, METADATA)
    for name, file in sorted(image.templates.items()):
        if file.error is not None:
            yield observation(file.error, f"{TEMPLATES}/{name}")


def observation(error: TemplaterError, place: str) -> Observation:
    return Observation(error.message, error.span or place, error.hint)
