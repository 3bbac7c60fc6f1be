"""A rule writes below `/run`.

Most systems mount an empty `/run` at each start, after the daemon has written the file: the file
disappears.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.source import printable
from ..authored import AuthoredImage
from ..base import Observation, check

HIDDEN = ("/run/", "/var/run/")


@check(
    "run-target",
    "info",
    "a target below /run, where the system mounts an empty file system",
    hint="use /etc, or tmpfiles.d",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for rule, path, _ in image.targets:
        if path.startswith(HIDDEN):
            yield Observation(
                f"'{printable(path)}' disappears when the system mounts /run", rule.spans["path"], rule=rule
            )
