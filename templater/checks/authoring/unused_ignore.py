"""An ignore comment or entry matches no finding, or names a check that does not exist.

Templates contain ignore comments, and templater.toml contains ignore entries. The comment or entry may be
misspelled, or the author may have fixed the mistake.

    127.0.1.1 {{ instance.name }}{# templater: ignore rename #}       in a template
    [[ignore]]                                                        in templater.toml
    id = "rename"

Put the comment at the end of a line with other text: a comment alone on a line leaves an empty line in the
written file.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored_image import AuthoredImage
from ..base import Observation, check


@check(
    "unused-ignore",
    "warning",
    "an ignore comment or entry that matches no finding",
    hint="remove the ignore comment or entry",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    """Yield nothing. ``ignores.py`` reports unused ignores when all other checks have run."""
    yield from ()
