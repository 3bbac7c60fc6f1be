"""Names in the archive that lead elsewhere than they seem to."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.source import printable
from ..survey import Sight, Survey, check


@check(
    "member-name", "critical", "a name in the archive that is absolute, climbs with '..' or hides what it is"
)
def look(survey: Survey) -> Iterator[Sight]:
    for name in survey.names:
        path = name.path
        shown = printable(path)
        if path.startswith("/"):
            yield Sight(f"'{shown}' is absolute", path)
        if ".." in path.split("/"):
            yield Sight(f"'{shown}' contains '..'", path)
        if not path.startswith("rootfs/") and "\\" in path:
            yield Sight(f"'{shown}' contains a backslash", path, severity="medium")
        if any(not character.isprintable() for character in path):
            yield Sight(f"'{shown}' holds unprintable characters", path, severity="info")
