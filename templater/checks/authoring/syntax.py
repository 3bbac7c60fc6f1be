"""A template compiles on none of the chosen hosts.

The daemon reports the error when it creates or starts an instance, and the instance does not start.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import TemplaterError
from ...pongo2.dialect import DIALECTS
from ...pongo2.filters_and_tags import library_for
from ..authored_image import AuthoredImage
from ..base import Fix, Observation, check
from ..typos import only_candidate
from .jinja import of_jinja


@check("syntax", "error", "a template that does not compile")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for template in image.parsed:
        if template.document is None:
            error = next(iter(template.errors.values()))
            if of_jinja(error) is None:
                at = error.span or template.source.span(0)
                yield Observation(
                    error.message, at, error.hint, fix=corrected(error, next(iter(template.errors)))
                )


def corrected(error: TemplaterError, dialect: str) -> Fix | None:
    """Return the fix for a misspelled filter or tag, or None for any other error."""
    library = library_for(DIALECTS[dialect])
    for what, known in (("filter", library.filters), ("tag", library.tags)):
        if error.span is not None and error.message == f"unknown {what} {error.span.text!r}":
            name = only_candidate(error.span.text, known)
            return Fix(((error.span, name),)) if name else None
    return None
