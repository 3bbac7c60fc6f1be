"""Links of the archive that would be unpacked through."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.entry import SYMLINK
from ...model.source import printable
from ..survey import Sight, Survey, check


@check(
    "member-link",
    "critical",
    "a member that would be unpacked through a symlink, or a hard link to what is not in the archive",
    "CVE-2025-4517",
)
def look(survey: Survey) -> Iterator[Sight]:
    links: dict[str, str] = {}
    seen: set[str] = set()
    for name in survey.names:
        path = name.path.removeprefix("./").rstrip("/")
        through = next((parent for parent in parents(path) if parent in links), None)
        if through is not None:
            yield Sight(
                f"'{printable(path)}' lies behind the symlink '{printable(through)}' "
                f"to '{printable(links[through])}'",
                name.path,
            )
        target = name.hard_link.removeprefix("./")
        if target and (target in links or target not in seen):
            what = "a symlink" if target in links else "not in the archive before it"
            severity = "high" if target in links else ""
            yield Sight(
                f"'{printable(path)}' is a hard link to '{printable(name.hard_link)}', which is {what}",
                name.path,
                severity=severity,
            )
        if target in seen and inside(path) != inside(target):
            yield Sight(
                f"'{printable(path)}' and '{printable(target)}' are one file: the instance could write what"
                " lies outside of its root filesystem",
                name.path,
            )
        links.pop(path, None)
        if name.entry.kind == SYMLINK:
            links[path] = name.entry.target
        seen.add(path)


def inside(path: str) -> bool:
    return path.startswith("rootfs/")


def parents(path: str) -> Iterator[str]:
    """Every folder that a name lies in, outermost first."""
    end = path.find("/")
    while end >= 0:
        yield path[:end]
        end = path.find("/", end + 1)
