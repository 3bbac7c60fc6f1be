"""A template does not compile on any of the chosen hosts.

The daemon reports the error when it creates or starts an instance, and the instance does not start.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored import AuthoredImage
from ..base import Observation, check
from .jinja import of_jinja


@check("syntax", "error", "a template that does not compile")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for template in image.parsed:
        if template.document is None:
            error = next(iter(template.errors.values()))
            if of_jinja(error) is None:
                yield Observation(error.message, error.span or template.source.span(0), error.hint)
