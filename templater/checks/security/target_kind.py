"""Targets at which the image has something else than a file."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.entry import DIRECTORY, FIFO, FILE
from ...model.source import printable
from ...planning.resolve import resolve
from ..survey import Sight, Survey, check

#: what a running container has mounts over
SYSTEM = ("/dev", "/proc", "/run", "/sys")


@check(
    "target-kind", "medium", "a target that is a fifo, socket, device or directory, or is hidden at run time"
)
def look(survey: Survey) -> Iterator[Sight]:
    for rule, path in survey.targets:
        resolved = resolve(survey.rootfs, path)
        at = rule.spans["path"]
        entry = resolved.entry
        if entry is not None and entry.kind == FIFO:
            yield Sight(
                f"'{printable(path)}' is a fifo: the start waits for a reader for ever", at, severity="high"
            )
        elif entry is not None and entry.kind == DIRECTORY:
            yield Sight(f"'{printable(path)}' is a directory: the start fails", at)
        elif entry is not None and entry.kind != FILE:
            yield Sight(
                f"'{printable(path)}' is a {entry.kind}: the daemon writes into it", at, severity="high"
            )
        if resolved.real.startswith(tuple(f"{system}/" for system in SYSTEM)):
            yield Sight(
                f"'{printable(path)}' lies where a running container has a mount: the file is not seen",
                at,
                severity="low",
            )
