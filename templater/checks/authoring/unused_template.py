"""The image contains a template that no rule uses."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.entry import FILE
from ..authored_image import AuthoredImage
from ..base import Observation, check


@check(
    "unused-template", "info", "a template that no rule uses", hint="remove the file, or add a rule for it"
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    used = {rule.template for rule in image.rules}
    for name, file in sorted(image.templates.items()):
        if (
            name not in used
            and file.entry is not None
            and file.entry.kind == FILE
            and image.metadata is not None
        ):
            yield Observation("no rule uses this template", f"templates/{name}")
