"""A public image, and its files on the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class File:
    """A file of an image. ``path`` is its path on the server, without a leading slash."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Served:
    """One public image. Times are in seconds since 1970. ``expires`` is 0 for never.

    * ``aliases``: names that clients list; images of different architectures or types can share a name
    * ``download_names``: names by which daemons can import a unified image
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
