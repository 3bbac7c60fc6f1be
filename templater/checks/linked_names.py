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

    ``links`` has the path and the target of each symlink in ``rootfs``.
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
        """Return the paths that lead to ``path`` through symlinks. Raises LimitError if there are too many.

        ``path`` itself contains no links. The result omits paths that use a link twice.
        """
        if path not in self._found:
            # the link that leads from each path to another path, and that path
            used: dict[str, tuple[str, str]] = {}
            names = [path]
            for name in names:
                through = _links_of(name, used)
                # The kernel follows no more links.
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

        Resolve the directories of the path, but not its last name.
        """
        if link not in self._places:
            path = target if target.startswith("/") else f"{link.rpartition('/')[0]}/{target}"
            name = _last_name(target)
            folder = path.rpartition(f"/{name}")[0] if name else path
            resolved = resolve(self._rootfs, f"{folder}/.", self._steps)
            place = f"{resolved.real.rstrip('/')}/{name}"
            if resolved.error is not None:  # a rule may create a missing directory
                place = "/" + posixpath.normpath(path).lstrip("/")
            self._places[link] = place.rstrip("/")
        return self._places[link]


def _links_of(name: str, used: dict[str, tuple[str, str]]) -> set[str]:
    """Return the links between the path ``name`` and the file where the search started.

    See ``LinkedNames.of`` for ``used``.
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
