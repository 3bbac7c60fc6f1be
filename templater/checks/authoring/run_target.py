"""A rule writes a file below `/run`.

In a container, the daemon writes the file before the system starts. When the system starts, systemd and most
other init systems mount an empty `/run`, and no program ever sees the file. A file in a directory such as
`/etc` stays visible.

In a virtual machine, the agent writes the file after `/run` is mounted. So the check ignores an image that
contains the disk of a virtual machine.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.file_names import DISK
from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Observation, check

HIDDEN = ("/run/", "/var/run/")


@check(
    "run-target",
    "warning",
    "a target below /run, where the system mounts an empty file system",
    hint="write the file below /etc, or let a tmpfiles.d file create it at each boot",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    if any(name.path == DISK for name in image.names):
        return
    for rule, path, _ in image.targets:
        if path.startswith(HIDDEN):
            yield Observation(
                f"'{printable(path)}' disappears when the system mounts /run", rule.spans["path"], rule=rule
            )
