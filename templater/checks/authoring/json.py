"""A file whose name ends in `.json` is not valid JSON, so programs cannot parse it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..mistakes_in_files import Mistake, mistakes_of
from ..rendered_files import File


@check("json", "error", "a .json file that is not valid JSON")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    yield from mistakes_of(image, ("json",), find)


def find(file: File) -> Iterator[Mistake]:
    try:
        json.loads(file.text or "")
    except json.JSONDecodeError as error:
        yield error.lineno, f"invalid JSON: {error.msg[:1].lower()}{error.msg[1:]}"
    except (RecursionError, ValueError):
        yield 1, "the JSON is nested too deeply, or has a number that is too long"
