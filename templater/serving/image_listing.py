"""The list of images that a server shows, with look-ups by alias and fingerprint."""

from __future__ import annotations

import platform
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from ..distribution.catalog_limits import MOST_OF_LISTS
from ..model.architectures import KERNEL_NAMES
from ..model.errors import LimitError
from ..model.instance import CONTAINER
from . import image_api_answers
from .image_api_answers import Elements, EncodedList
from .served_image import Served

#: bytes of memory that an element of a list needs in addition to its text
_ELEMENT = 56
#: the first LXD release with virtual machines; every Incus release has them
_FIRST_WITH_MACHINES = (3, 19)


class Listing:
    """All public images. ``documents`` maps paths to generated files of a simplestreams catalog.

    The image API shows one image for each name. The server prefers containers, then its own architecture.
    Raises LimitError if the lists for clients are too large.
    """

    def __init__(
        self, images: Iterable[Served], documents: Mapping[str, EncodedList] = MappingProxyType({})
    ) -> None:
        self.documents = documents
        self._size = 0
        for document in documents.values():
            self._count(document.size)
        self._entries, kept = Elements(), dict[str, Served]()
        for image in images:
            if image.fingerprint not in kept:
                self._entries.append(self._encode(image_api_answers.image_data(image)))
                kept[image.fingerprint] = replace(image, properties={})  # the encoded image has them
        #: the images without their properties, which only the encoded elements contain
        self.images = tuple(kept.values())
        self._sorted = sorted(kept)
        self._positions = {fingerprint: number for number, fingerprint in enumerate(kept)}
        #: the image that the image API shows for each name
        self.aliases: dict[str, Served] = {}
        self._unified: dict[str, tuple[Served, ...]] = {}
        self._give_names()
        #: the answers that contain lists; every client gets the same lists
        self.answers = {
            "images True": image_api_answers.success_list(self._entries),
            "images False": self._list(image_api_answers.image_address(name) for name in kept),
            "aliases True": self._list(image_api_answers.alias_data(*each) for each in self.aliases.items()),
            "aliases False": self._list(map(image_api_answers.alias_address, self.aliases)),
        }

    @property
    def lists(self) -> tuple[EncodedList, ...]:
        return (*self.answers.values(), *self.documents.values())

    def _give_names(self) -> None:
        names: dict[str, list[str]] = {}
        for image in by_preference(self.images):
            for name in image.aliases:
                if self.aliases.setdefault(name, image) is image:
                    names.setdefault(image.fingerprint, []).append(name)
            if image.unified:
                for name in dict.fromkeys((*image.aliases, *image.download_names)):
                    self._unified[name] = (*self._unified.get(name, ()), image)
        for fingerprint, own in names.items():
            position = self._positions[fingerprint]
            entry = self._entries[position]
            self._entries[position] = image_api_answers.with_aliases(entry, own)
            self._count(len(self._entries[position]) - len(entry))

    def _list(self, values: Iterable[object]) -> EncodedList:
        return image_api_answers.success_list(Elements(map(self._encode, values)))

    def _encode(self, value: object) -> bytes:
        encoded = image_api_answers.encode(value)
        self._count(len(encoded) + _ELEMENT)
        return encoded

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > MOST_OF_LISTS:
            raise LimitError(f"the image lists for clients have more than {MOST_OF_LISTS >> 20} MiB")

    def encoded(self, image: Served) -> bytes:
        """Return the JSON of one of the images."""
        return self._entries[self._positions[image.fingerprint]]

    def find(self, beginning: str) -> Served | None:
        """Return the image whose fingerprint begins with ``beginning``, or None if zero or several match."""
        at = bisect_left(self._sorted, beginning)
        found = self._sorted[at : at + 2]
        if not beginning or not found or not found[0].startswith(beginning):
            return None
        if len(found) == 2 and found[1].startswith(beginning) and found[0] != beginning:
            return None
        return self.images[self._positions[found[0]]]

    def choose(self, name: str, architectures: Sequence[str] = (), lxd_version: str = "") -> Served | None:
        """Return the unified image with this alias or fingerprint that suits a daemon, or None.

        The list ``architectures`` is in order of preference. If the list is empty, every architecture suits.
        An old ``lxd_version`` excludes virtual machines.
        """
        image = self.find(name)
        found = self._unified.get(name) or ((image,) if image is not None and image.unified else ())
        if lxd_version and _version(lxd_version) < _FIRST_WITH_MACHINES:
            found = tuple(image for image in found if image.type == CONTAINER)
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
