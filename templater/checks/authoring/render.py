"""A template compiles, but fails while it is rendered.

The daemon reports the error when it creates or starts an instance, and the instance does not start.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import LimitError, RenderError, TemplaterError
from ...model.file_names import METADATA
from ...model.source import Span, printable
from ..authored_image import AuthoredImage
from ..base import Observation, check


@check("render", "error", "a template whose rendering fails or does not end")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    if image.late is not None:
        yield Observation(image.late.message, METADATA, image.late.hint)
    seen: set[tuple[str, str]] = set()
    for file in image.files:
        error = file.error
        key = (file.rule.template, error.message if error is not None else "")
        if isinstance(error, RenderError | LimitError) and key not in seen and not file.awkward:
            seen.add(key)
            others = image.alternatives(file) if file.invented else (file,)
            certain = bool(others) and all(other.error is not None for other in others)
            yield Observation(
                f"'{printable(file.rule.path)}' on {file.trigger}: {error.message}",
                place(image, file.rule.template, error) or file.rule.spans["path"],
                error.hint,
                severity="" if certain else "info",
                rule=file.rule,
            )


def place(image: AuthoredImage, template: str, error: TemplaterError) -> Span | None:
    """Return the error's position with the template's path in the image.

    The renderer knows only the template's name.
    """
    if error.span is None:
        return None
    source = image.templates[template].source(f"{image.name}/templates/{template}")
    return source.span(error.span.start, error.span.end)
