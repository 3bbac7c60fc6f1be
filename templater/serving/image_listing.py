"""The list of images that a server shows, with look-ups by alias and fingerprint."""

from __future__ import annotations

import platform
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress

from ..model.architectures import KERNEL_NAMES
from ..model.instance import CONTAINER

#: the first LXD release with virtual machines; every Incus release has them
_FIRST_WITH_MACHINES = (3, 19)


@dataclass(frozen=True, slots=True)
class File:
    """A file of an image. ``path`` is its path on the server, without a leading slash."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Served:
    """One public image. Times are in seconds since 1970; ``expires`` is 0 for never.

    ``aliases`` are the names that clients list. Images of several architectures or types can share a name.
    ``download_names`` are the names by which daemons can import a unified image.
    """

    fingerprint: str
    type: str
    architecture: str
    created: int
    expires: int
    uploaded: int
    properties: Mapping[str, str]
    files: tuple[File, ...]
    aliases: tuple[str, ...] = ()
    download_names: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def unified(self) -> bool:
        return len(self.files) == 1


class EncodedList:
    """The bytes of an answer with a list. Answers to several clients share the encoded elements.

    ``chosen`` has a byte for each element, which is 0 if the answer leaves the element out. If ``chosen`` is
    empty, the answer has all elements.
    """

    def __init__(self, elements: Sequence[bytes], chosen: bytes, start: bytes, end: bytes) -> None:
        self.elements, self._chosen = elements, chosen
        self._start, self._end = start, end
        self.size = sum(map(len, self))

    def __iter__(self) -> Iterator[bytes]:
        yield self._start
        separator = b""
        for element in compress(self.elements, self._chosen) if self._chosen else self.elements:
            yield separator
            yield element
            separator = b","
        yield self._end


@dataclass(slots=True)
class Listing:
    """All public images, and a dict from paths to the generated files of a stream.

    For each name, the image API shows one image: containers are preferred, then images of the server's own
    architecture.
    """

    images: Sequence[Served]
    documents: Mapping[str, bytes] = field(default_factory=dict)
    #: the image of each name in the image API
    aliases: dict[str, Served] = field(default_factory=dict)
    #: the names of each image in the image API, by fingerprint
    names: dict[str, list[str]] = field(default_factory=dict)
    #: the encoded elements of lists, which are the same for all clients
    answers: dict[str, EncodedList] = field(default_factory=dict)
    _by_fingerprint: dict[str, Served] = field(default_factory=dict)
    _sorted: list[str] = field(default_factory=list)
    _unified: dict[str, list[Served]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for image in self.images:
            self._by_fingerprint.setdefault(image.fingerprint, image)
        self.images = tuple(self._by_fingerprint.values())
        self._sorted = sorted(self._by_fingerprint)
        for image in by_preference(self.images):
            for name in image.aliases:
                if self.aliases.setdefault(name, image) is image:
                    self.names.setdefault(image.fingerprint, []).append(name)
            if image.unified:
                for name in dict.fromkeys((*image.aliases, *image.download_names)):
                    self._unified.setdefault(name, []).append(image)

    def find(self, beginning: str) -> Served | None:
        """Return the only image whose fingerprint has this beginning, or None if zero or several match."""
        at = bisect_left(self._sorted, beginning)
        found = self._sorted[at : at + 2]
        if not beginning or not found or not found[0].startswith(beginning):
            return None
        if len(found) == 2 and found[1].startswith(beginning) and found[0] != beginning:
            return None
        return self._by_fingerprint[found[0]]

    def choose(self, name: str, architectures: Sequence[str] = (), lxd_version: str = "") -> Served | None:
        """Return the unified image with this alias or fingerprint for a daemon, or None.

        ``architectures`` are the architectures that the daemon can run, in order of preference; empty means
        any.
        """
        image = self.find(name)
        found = self._unified.get(name) or ([image] if image is not None and image.unified else [])
        if lxd_version and _version(lxd_version) < _FIRST_WITH_MACHINES:
            found = [image for image in found if image.type == CONTAINER]
        if not architectures:
            return found[0] if found else None
        for wanted in architectures:
            for image in found:
                if image.architecture == KERNEL_NAMES.get(wanted, wanted):
                    return image
        return None


def by_preference(images: Iterable[Served]) -> list[Served]:
    own = KERNEL_NAMES.get(platform.machine(), platform.machine())
    return sorted(images, key=lambda image: (image.type != CONTAINER, image.architecture != own))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]{1,6}", text)[:2])
