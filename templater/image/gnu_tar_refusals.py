"""The files that GNU tar creates from an archive, and the members that GNU tar can't unpack.

The daemons unpack tarballs with GNU tar. If GNU tar fails for one member, no instance of the
image can be created.
"""

from __future__ import annotations

from collections import Counter

from ..model.entry import DIRECTORY, SYMLINK
from ..model.errors import LimitError
from ..model.unprintable_characters import printable

#: reasons why GNU tar can't unpack a member
BELOW_FILE = "is below a file"
BELOW_LINK = "is below a symlink that is absolute or contains '..'"
OVER_DIRECTORY = "replaces a directory that is not empty"
#: reasons why GNU tar can't make a hard link, because of its target
NO_TARGET = "which does not precede the link in the archive"
DIRECTORY_TARGET = "which is a directory"
#: GNU tar may unpack these members and links, but through a symlink or outside of the image
THROUGH_LINK = "is below a symlink"
TARGET_THROUGH_LINK = "which is outside of the image or below a symlink"

#: A symlink whose target is absolute or contains '..'. GNU tar first makes an empty file in its place, and
#: replaces that file with the symlink after all other members.
_LATE_SYMLINK = "late symlink"
#: maximum total length of the directories for which an archive has no member of their own
_MOST_IMPLIED = 32 << 20


class UnpackedTree:
    """The kinds of the files and directories that GNU tar has made so far."""

    def __init__(self) -> None:
        #: the kind of each path. For a path that can't exist, the kind of the file or symlink above it.
        self._kinds: dict[str, str] = {"": DIRECTORY}
        #: the number of names in each directory
        self._entries: Counter[str] = Counter()
        self._implied = 0

    def add(
        self, path: str, kind: str, target: str = "", hard_link: str = "", is_inside: bool = False
    ) -> str:
        """Record a member that GNU tar can unpack, and return "". For any other member, return the reason.

        * ``path``: the member's cleaned, relative name
        * ``is_inside``: true for a directory whose stored name ends in "/."

        Raises LimitError if the names of all directories without a member are too long in total.
        """
        kinds = self._kinds
        # GNU tar can't replace a file by a directory whose stored name ends in "/.".
        above = self._kind_above(f"{path}/." if is_inside else path)
        if above != DIRECTORY:
            return {SYMLINK: THROUGH_LINK, _LATE_SYMLINK: BELOW_LINK}.get(above, BELOW_FILE)
        if kind == SYMLINK and (target.startswith("/") or has_dots(target)):
            kind = _LATE_SYMLINK
        if hard_link:
            if hard_link.startswith("/") or has_dots(hard_link):
                return TARGET_THROUGH_LINK
            found = kinds.get(hard_link)
            if found is None:
                return TARGET_THROUGH_LINK if self._kind_above(hard_link) == SYMLINK else NO_TARGET
            if hard_link == path:
                return ""
            if found == DIRECTORY:
                return DIRECTORY_TARGET
            kind = found
        # A directory may follow a late symlink of the same path: on some file systems, GNU tar can make the
        # directory.
        before = kinds.get(path)
        if before is None:
            self._entries[path.rpartition("/")[0]] += 1
        elif before == DIRECTORY != kind and self._entries[path]:
            return OVER_DIRECTORY
        kinds[path] = kind
        return ""

    def _kind_above(self, path: str) -> str:
        """Return the kind of a path's parent directory. Make the missing parents, as GNU tar does."""
        folder = path.rpartition("/")[0]
        kind = self._kinds.get(folder)
        if kind is not None:
            return kind
        missing = [folder]
        while (kind := self._kinds.get(folder := folder.rpartition("/")[0])) is None:
            missing.append(folder)
        self._implied += sum(map(len, missing))
        if self._implied > _MOST_IMPLIED:
            raise LimitError(
                f"the names of directories without a member have more than {_MOST_IMPLIED} characters in"
                " total"
            )
        for each in missing:
            self._kinds[each] = kind
        if kind == DIRECTORY:
            self._entries.update([folder, *missing[1:]])
        return kind


def described(path: str, hard_link: str, reason: str) -> str:
    """Return a phrase that says why ``UnpackedTree.add`` refuses a member."""
    if reason.startswith("which "):
        return f"'{printable(path)}' is a hard link to '{printable(hard_link)}', {reason}"
    return f"'{printable(path)}' {reason}"


def has_dots(path: str) -> bool:
    """Return whether a path has the component '..'."""
    return ".." in path and ".." in path.split("/")
