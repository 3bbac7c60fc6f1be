"""A check for archive members that would be unpacked through links, or that can't be unpacked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ...image.gnu_tar_refusals import has_dots
from ...model.entry import DIRECTORY, SYMLINK
from ...model.file_names import ROOTFS
from ...model.unprintable_characters import printable
from ..base import Observation, check
from ..scanned_image import ScannedImage
from ..unpack_refusals import unpack_refusals

#: GNU tar compares this many names in about ten seconds
_MOST_COMPARED = 1_250_000_000


@check(
    "member-link",
    "critical",
    "a hard link to a file outside the archive, a member that would be unpacked through a symlink, or a"
    " member that can't be unpacked",
    "CVE-2025-4517",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    links = Links()
    seen: set[str] = set()
    reported: set[str] = set()
    for name in image.names:
        path = name.path
        through = links.link_above(path)
        if through is not None:
            reported.add(path)
            yield Observation(
                f"'{printable(path)}' is below the symlink '{printable(through)}' "
                f"to '{printable(links.target(through) or '')}'",
                path,
            )
        target = name.hard_link
        linked = bool(target) and links.target(target) is not None
        if target and (linked or target not in seen):
            reported.add(path)
            problem = "a symlink" if linked else "a file that does not precede the link in the archive"
            yield Observation(
                f"'{printable(path)}' is a hard link to '{printable(target)}', {problem}",
                path,
                severity="high" if linked else "",
            )
        if target in seen and is_inside(path) != is_inside(target):
            reported.add(path)
            yield Observation(
                f"'{printable(path)}' and '{printable(target)}' are the same file: the instance could write a"
                " file outside its root filesystem",
                path,
            )
        links.remove(path)
        if name.entry.kind == SYMLINK:
            links.add(path, name.entry.target)
        seen.add(path)
    for message, path, _ in unpack_refusals(image.names) if image.packed else ():
        if path not in reported:
            yield Observation(message, path, severity="medium", advisory="")
    if image.packed and _compared_names(image) > _MOST_COMPARED:
        message = (
            "the archive has many directories, and symlinks with an absolute target or '..': tar may need"
            " minutes"
        )
        yield Observation(message, ROOTFS, severity="medium", advisory="")


def _compared_names(image: ScannedImage) -> int:
    """Return how many names GNU tar compares while it unpacks an archive."""
    # If a symlink's target is absolute or contains ``..``, GNU tar delays the symlink to the end. For each
    # hard link, GNU tar searches the delayed symlinks. For each directory, and for some delayed symlinks, GNU
    # tar searches a list of directories.
    links = compared = 0
    # GNU tar's list of directories consists of `kept` and `opened`. `kept` has the directories above delayed
    # symlinks.
    made, kept = {""}, set[str]()
    opened: list[str] = []  # directories that leave the list after their contents are unpacked
    for name in image.names:
        path = name.path.lstrip("/")
        if has_dots(path):
            continue
        while opened and not path.startswith(f"{opened[-1]}/"):
            opened.pop()
        parent = path.rpartition("/")[0]
        new = [path] if name.entry.kind == DIRECTORY else []
        missing = parent
        while missing not in made:
            new.append(missing)
            missing = missing.rpartition("/")[0]
        for directory in reversed(new):
            compared += len(kept) + len(opened)
            made.add(directory)
            if directory not in kept:
                opened.append(directory)
        if name.hard_link:
            compared += links
        elif name.entry.kind == SYMLINK and (
            name.entry.target.startswith("/") or has_dots(name.entry.target)
        ):
            links += 1
            if opened and opened[-1] == parent:
                kept.update(opened)
                opened.clear()
            else:
                # GNU tar searches the list if the symlink's directory is not the newest entry.
                compared += len(kept)
    return compared


def is_inside(path: str) -> bool:
    return path.startswith(f"{ROOTFS}/")


def _digest(path: str) -> int:
    digest = 0
    for part in path.split("/"):
        digest = hash((digest, part))
    return digest


class Links:
    """The symlinks read so far from an archive. The time of a lookup is proportional to the path's length."""

    def __init__(self) -> None:
        self._targets: dict[str, str] = {}
        self._digests: Counter[int] = Counter()

    def add(self, path: str, target: str) -> None:
        if path not in self._targets:
            self._digests[_digest(path)] += 1
        self._targets[path] = target

    def remove(self, path: str) -> None:
        if self._targets.pop(path, None) is not None:
            digest = _digest(path)
            self._digests[digest] -= 1
            if not self._digests[digest]:
                del self._digests[digest]

    def target(self, path: str) -> str | None:
        return self._targets.get(path)

    def link_above(self, path: str) -> str | None:
        """Return a path's outermost parent that is a symlink, or None if no parent is a symlink."""
        digest = 0
        end = -1
        for part in path.split("/")[:-1] if self._targets else ():
            digest = hash((digest, part))
            end += len(part) + 1
            if digest in self._digests and path[:end] in self._targets:
                return path[:end]
        return None
