"""A template compiles, but fails while it is rendered.

The daemon reports the error when it creates or starts an instance, and the instance does not start.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import LimitError, RenderError
from ...model.file_names import METADATA
from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Observation, check


@check("render", "error", "a template whose rendering fails or does not end")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    if image.late is not None:
        yield Observation(image.late.message, METADATA, image.late.hint)
    seen: set[tuple[str, str]] = set()
    unreadable = {name for name, file in image.templates.items() if file.error is not None}
    for file in image.files:
        if file.rule.template in unreadable:  # the check 'unreadable' reports these templates
            continue
        error = file.error
        key = (file.rule.template, error.message if error is not None else "")
        if isinstance(error, RenderError | LimitError) and key not in seen and not file.awkward:
            seen.add(key)
            others = image.alternatives(file) if file.invented else (file,)
            certain = bool(others) and all(other.error is not None for other in others)
            yield Observation(
                f"'{printable(file.rule.path)}' on {file.trigger}: {error.message}",
                image.placed(error.span) or file.rule.spans["path"],
                error.hint,
                severity="" if certain else "info",
                rule=file.rule,
            )
