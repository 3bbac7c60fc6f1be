"""A check for templates that do not compile, or compile only for some daemons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...model.errors import TemplaterError
from ..base import Observation, check
from ..scanned_image import ScannedImage

if TYPE_CHECKING:
    from ...model.source import Source

#: the hosts that use each dialect
READERS = {"v4": "LXD and incus-debian", "v6": "incus-6.0 and incus-6.0.4", "v6.1": "incus"}


@check("language", "medium", "a template that does not compile, or compiles only for some daemons")
def check_image(image: ScannedImage) -> Iterator[Observation]:
    for source in image.sources():
        errors = {dialect: error for dialect in READERS if (error := failure(source, dialect)) is not None}
        if not errors:
            continue
        first = next(iter(errors.values()))
        everywhere = len(errors) == len(READERS)
        whose = "" if everywhere else f" (on {', and on '.join(READERS[dialect] for dialect in errors)})"
        yield Observation(
            f"{first.message}{whose}",
            first.span or source.span(0),
            first.hint,
            severity=("high" if first.exit_code == 4 else "") if everywhere else "low",
        )


def failure(source: Source, dialect: str) -> TemplaterError | None:
    from ...pongo2 import compile
    from ...pongo2.dialect import DIALECTS

    try:
        compile(source, DIALECTS[dialect], mode="incus")
    except TemplaterError as error:
        return error
    return None
