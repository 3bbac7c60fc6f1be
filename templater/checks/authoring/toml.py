"""A file whose name ends in `.toml` is not valid TOML, so programs cannot parse it."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import InputError, LimitError
from ...parsing.toml_text import read_toml
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..mistakes_in_files import Mistake, mistakes_of
from ..rendered_files import File


@check("toml", "error", "a .toml file that is not valid TOML")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    yield from mistakes_of(image, ("toml",), find)


def find(file: File) -> Iterator[Mistake]:
    try:
        read_toml(file.source)
    except (InputError, LimitError) as error:
        line = error.span.line if error.span is not None else 1
        if isinstance(error, LimitError):
            yield line, f"not checked: {error.message}", "warning"
        else:
            yield line, error.message
