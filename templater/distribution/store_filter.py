"""The filters of ``store list``, with the syntax of ``incus image list``."""

from __future__ import annotations

from collections.abc import Iterable

from .store import StoredImage


def matching(images: Iterable[StoredImage], filters: Iterable[str]) -> list[StoredImage]:
    """Return the images that match all filters. The syntax is that of ``incus image list``.

    * ``KEY=VALUE`` compares a property, or type, architecture, public, auto_update or cached.
    * Any other filter matches a part of an alias or the beginning of a fingerprint.
    """
    found = list(images)
    for text in filters:
        key, equals, value = text.partition("=")
        found = [image for image in found if (_has(image, key, value) if equals else _is_named(image, text))]
    return found


def _has(image: StoredImage, key: str, value: str) -> bool:
    flags = {"public": image.public, "auto_update": image.auto_update, "cached": image.cached}
    if key in flags:
        return value == str(flags[key]).lower()
    own = {"type": image.type, "architecture": image.architecture}
    return value.casefold() == (image.properties.get(key) or own.get(key) or "").casefold()


def _is_named(image: StoredImage, word: str) -> bool:
    return image.fingerprint.startswith(word) or any(word in alias for alias in image.aliases)
