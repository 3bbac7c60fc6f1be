"""A rule writes a file below `/proc`, `/sys` or `/dev`.

The daemon writes the file before the instance starts. At the start, the kernel's file systems are mounted on
`/proc`, `/sys` and `/dev`, and hide the file.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Observation, check

HIDDEN = ("/proc/", "/sys/", "/dev/")


@check(
    "kernel-target",
    "error",
    "a target below /proc, /sys or /dev",
    hint="use sysctl.d, tmpfiles.d or udev rules instead",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for rule, path, _ in image.targets:
        if path.startswith(HIDDEN):
            message = f"another file system hides '{printable(path)}' in the running instance"
            yield Observation(message, rule.spans["path"], rule=rule)
