"""Files of the root filesystem that give rights."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.entry import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY
from ...model.source import printable
from ..survey import Name, Sight, Survey, check

SHOWN = 8
DEVICES = "devices"
TRUSTED = "files with trusted attributes"


@check(
    "privileged-file", "info", "devices, setuid and setgid files, file capabilities in the root filesystem"
)
def look(survey: Survey) -> Iterator[Sight]:
    """A distribution has a dozen setuid programs: they are listed, not blamed."""
    kinds: dict[str, list[Name]] = {}
    for name in survey.names:
        for what in privileges(name):
            kinds.setdefault(what, []).append(name)
    for what, names in kinds.items():
        shown = ", ".join(printable(name.path) for name in names[:SHOWN]) + (
            ", …" if len(names) > SHOWN else ""
        )
        severity = "medium" if what in (DEVICES, TRUSTED) else ""
        yield Sight(f"{what}: {len(names)} ({shown})", names[0].path, severity=severity)


def privileges(name: Name) -> Iterator[str]:
    entry = name.entry
    if entry.kind in (CHAR_DEVICE, BLOCK_DEVICE):
        yield DEVICES
    elif entry.kind != DIRECTORY and entry.mode & 0o4000:
        yield "setuid files"
    elif entry.kind != DIRECTORY and entry.mode & 0o2000:
        yield "setgid files"
    if "security.capability" in name.xattrs:
        yield "files with capabilities"
    if any(attribute.startswith("trusted.") for attribute in name.xattrs):
        yield TRUSTED
