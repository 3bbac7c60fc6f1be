"""A check that lists privileged files of the root filesystem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ...model.entry import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY
from ...model.unprintable_characters import printable
from ..base import Observation, check
from ..scanned_image import Name, ScannedImage

SHOWN = 8
DEVICES = "devices"
TRUSTED = "files with trusted attributes"
WHITEOUTS = "whiteouts, which hide files of a lower layer"


@check(
    "privileged-file",
    "info",
    "devices, whiteouts, setuid and setgid files, and file capabilities in the root filesystem",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    """List privileged files. Most findings are only informational: every distribution has setuid programs."""
    counts: Counter[str] = Counter()
    first: dict[str, list[str]] = {}
    for name in image.names:
        for privilege in privileges(name):
            counts[privilege] += 1
            if counts[privilege] <= SHOWN:
                first.setdefault(privilege, []).append(name.path)
    for privilege, names in first.items():
        shown = ", ".join(map(printable, names)) + (", …" if counts[privilege] > SHOWN else "")
        severity = "medium" if privilege in (DEVICES, TRUSTED, WHITEOUTS) else ""
        yield Observation(f"{privilege}: {counts[privilege]} ({shown})", names[0], severity=severity)


def privileges(name: Name) -> Iterator[str]:
    entry = name.entry
    if is_whiteout(name):
        yield WHITEOUTS
    elif entry.kind in (CHAR_DEVICE, BLOCK_DEVICE):
        yield DEVICES
    elif entry.kind != DIRECTORY and entry.mode & 0o4000:
        yield "setuid files"
    elif entry.kind != DIRECTORY and entry.mode & 0o2000:
        yield "setgid files"
    if "security.capability" in name.xattrs:
        yield "files with capabilities"
    if any(attribute.startswith("trusted.") for attribute in name.xattrs):
        yield TRUSTED


def is_whiteout(name: Name) -> bool:
    """Return whether an entry is a whiteout, which hides a file of a lower layer.

    In an overlay, a whiteout is a device 0:0. In an image's layer, its name begins with ``.wh.``.
    """
    device = name.entry.kind == CHAR_DEVICE and name.entry.rdev == 0
    return device or name.path.rpartition("/")[2].startswith(".wh.")
