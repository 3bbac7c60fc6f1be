"""A check for targets that already exist in the image but are not regular files."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.entry import DIRECTORY, FIFO, FILE
from ...model.file_names import ROOTFS
from ...model.unprintable_characters import printable
from ..base import Observation, check
from ..scanned_image import ScannedImage

#: directories on which a running system mounts file systems of the kernel
_OF_KERNEL = ("/dev/", "/proc/", "/sys/")


@check(
    "target-kind",
    "medium",
    "a target that is a fifo, socket, device, directory or hard link, or that a mount hides at run time",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    for rule, path, resolved in image.targets:
        at = rule.spans["path"]
        entry = resolved.entry
        if entry is not None and entry.kind == FIFO:
            yield Observation(
                f"'{printable(path)}' is a fifo: the start waits forever for a reader", at, severity="high"
            )
        elif entry is not None and entry.kind == DIRECTORY:
            yield Observation(f"'{printable(path)}' is a directory: the start fails", at)
        elif entry is not None and entry.kind != FILE:
            yield Observation(
                f"'{printable(path)}' is a {entry.kind}: the daemon writes into it", at, severity="high"
            )
        elif others := image.other_names.get(ROOTFS + resolved.real):
            other = next((name for name in others if name != ROOTFS + resolved.real), "")
            what = f"'{printable(other.removeprefix(ROOTFS))}'" if other else "a file outside the image"
            yield Observation(f"'{printable(path)}' is a hard link to {what}: the daemon changes both", at)
        if image.may_be_virtual_machine and resolved.real.startswith(_OF_KERNEL):
            yield Observation(
                f"'{printable(path)}' is in a file system of the kernel: in a virtual machine, "
                "the agent writes to this file",
                at,
            )
        elif resolved.real.startswith(_OF_KERNEL) or (
            resolved.real.startswith("/run/") and not image.has_disk
        ):
            yield Observation(
                f"'{printable(path)}' is hidden in a running container: another file system is mounted there",
                at,
                severity="low",
            )
