"""The other names that symlinks of the root filesystem give to a file."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..planning.follow_links import MAX_LINKS, MAX_PATH, Steps, resolve

if TYPE_CHECKING:
    from ..model.entry import RootfsView


class LinkedNames:
    """A search from a file back to the symlinks that lead to the file.

    A program can read a sensitive file through a link. For example, ``/etc/sudoers.d`` is a link to
    ``/srv/rules``. In this case, a target such as ``/srv/rules/x`` is sensitive, although this path contains
    no link.

    ``links`` has the path and the target of each symlink in ``rootfs``. Most images have thousands of links.

    To save time, the search skips a link if the last name of the link's target does not occur in the searched
    path. The search never skips a link to ``/`` or ``..``, because such a target has no last name.
    """

    def __init__(self, rootfs: RootfsView, links: Iterable[tuple[str, str]]) -> None:
        self._rootfs = rootfs
        self._steps = Steps()
        #: the links by the last name of their targets, see ``_last_name``
        self._links: dict[str, list[tuple[str, str]]] = {}
        #: the path to which each link leads
        self._places: dict[str, str] = {}
        self._found: dict[str, list[str]] = {}
        for path, target in links:
            self._links.setdefault(_last_name(target), []).append((path, target))

    def of(self, path: str) -> list[str]:
        """Return the paths that lead to ``path`` through symlinks. ``path`` itself contains no links.

        Omit paths that go through the same link twice, or through more links than the kernel follows.
        Raises LimitError if there are too many paths.
        """
        if path not in self._found:
            # the link that leads from each path to another path, and that path
            used: dict[str, tuple[str, str]] = {}
            names = [path]
            for name in names:
                through = _links_of(name, used)
                if len(through) == MAX_LINKS:
                    continue
                for place, link in self._links_above(name):
                    other = link + name[len(place) :]
                    if other not in used and other != path and link not in through and len(other) <= MAX_PATH:
                        used[other] = (link, name)
                        names.append(other)
            self._found[path] = names[1:]
        return self._found[path]

    def _links_above(self, path: str) -> Iterator[tuple[str, str]]:
        """Yield the target and the path of each link that leads to ``path`` or a directory above ``path``."""
        place = path
        while True:
            for key in {place.rpartition("/")[2], ""}:
                for link, target in self._links.get(key, ()):
                    self._steps.take(path)
                    if self._place_of(link, target) == place:
                        yield place, link
            if not place:
                return
            place = place.rpartition("/")[0]

    def _place_of(self, link: str, target: str) -> str:
        """Return the path to which a link leads, without a slash at its end.

        Resolve links in the directories of the returned path, but not a link at its end. If the directories
        can't be resolved, remove each ``..`` from the text of the path: a rule may create a missing
        directory.
        """
        if link not in self._places:
            path = target if target.startswith("/") else f"{link.rpartition('/')[0]}/{target}"
            name = _last_name(target)
            folder = path.rpartition(f"/{name}")[0] if name else path
            resolved = resolve(self._rootfs, f"{folder}/.", self._steps)
            place = f"{resolved.real.rstrip('/')}/{name}"
            if resolved.error is not None:
                place = "/" + posixpath.normpath(path).lstrip("/")
            self._places[link] = place.rstrip("/")
        return self._places[link]


def _links_of(name: str, used: dict[str, tuple[str, str]]) -> set[str]:
    """Return all links on the way from a path to the file that the search started from.

    ``used`` maps each path to a link, and to the path to which this link leads.
    """
    links = set()
    while name in used:
        link, name = used[name]
        links.add(link)
    return links


def _last_name(target: str) -> str:
    """Return the last name of a link's target, or an empty text if the target ends in ``..``."""
    names = [name for name in target.split("/") if name not in ("", ".")]
    return names[-1] if names and names[-1] != ".." else ""
