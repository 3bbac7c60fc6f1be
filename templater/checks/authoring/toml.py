"""A file whose name ends in `.toml` is not valid TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

from ...model.source import printable
from ..authored import AuthoredImage, File
from ..base import Observation, check
from ..rendered import Mistake, mistakes_of


@check("toml", "error", "a .toml file that is not valid TOML")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    yield from mistakes_of(image, ("toml",), find)


def find(file: File) -> Iterator[Mistake]:
    try:
        tomllib.loads(file.text or "")
    except tomllib.TOMLDecodeError as error:
        message, _, place = str(error).partition(" (at line ")
        number = place.partition(",")[0]
        yield (
            int(number) if number.isdigit() else 1,
            f"invalid TOML: {printable(message[:1].lower() + message[1:])}",
        )
    except (RecursionError, ValueError):
        yield 1, "the TOML is nested too deeply, or has a number that is too long"
