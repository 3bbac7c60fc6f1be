"""The sources of images for a server, other than trees: the store of this machine, and image files."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Protocol

from ..distribution.add_to_tree import default_aliases, product_fields
from ..distribution.store import Store, StoredImage
from ..distribution.tree_catalog import clean_path
from ..image.describe import describe
from ..image.fingerprint import fingerprint
from ..image.limits import DEFAULT, Limits
from ..image.open_file import OpenFile, opened, refuse_private
from ..model.errors import TemplaterError, UsageError
from ..model.instance import CONTAINER, VIRTUAL_MACHINE
from ..model.metadata import Metadata
from ..parsing.magic_bytes import QCOW2
from .generated_stream import LocalImage, PublicFiles, Report, identity_of, listing_of
from .image_listing import Listing

#: minimum number of seconds between two records of the use of an image
_USE = 3600


class Source(Protocol):
    def changed(self) -> bool:
        """Return whether the list of images can differ from the list that ``load`` read last."""

    def load(self) -> Listing: ...

    def open(self, path: str, /) -> int:
        """Open the file at a path of the server. Raises FileNotFoundError if the path has no public file."""


class StoreSource:
    """The complete, public images of the store."""

    def __init__(self, report: Report, store: Store | None = None) -> None:
        self._store = store or Store()
        self._report = report
        self._files = PublicFiles()
        #: the identity of the records before they were read
        self._read: tuple[int, ...] = ()
        #: the fingerprint of each fetched image, by the hashes of its files
        self._fetched: dict[str, str] = {}
        #: the time of the last recorded use of an image, by its fingerprint
        self._used: dict[str, float] = {}

    def changed(self) -> bool:
        return self._identity() != self._read

    def _identity(self) -> tuple[int, ...]:
        return identity_of(os.stat(os.path.join(self._store.path, "images.db")))

    def load(self) -> Listing:
        identity = self._identity()
        stored = [image for image in self._store.images() if image.public and image.complete]
        self._read = identity  # only now: if another process locks the store, the next request tries again
        listing, self._files = listing_of([self._local(image) for image in stored], self._report)
        self._fetched = {
            sha256: image.fingerprint
            for image in stored
            if image.cached
            for sha256 in (image.metadata, image.root)
        }
        return listing

    def _local(self, image: StoredImage) -> LocalImage:
        paths = tuple(self._store.paths(image))
        facts = Metadata(image.architecture, image.created, image.expires, dict(image.properties))
        hashes = tuple(each for each in (image.metadata, image.root) if each)
        return LocalImage(
            paths, hashes, image.fingerprint, image.type or CONTAINER, facts, image.aliases, image.imported
        )

    def open(self, path: str, /) -> int:
        fd = self._files.open(path)
        name = clean_path(path).rpartition("/")[2].partition(".")[0]
        if (fingerprint := self._fetched.get(name)) is not None:
            self._use(fingerprint)
        return fd

    def _use(self, fingerprint: str) -> None:
        """Record, at most once an hour, that a fetched image is in use, so that it does not expire."""
        now = time.monotonic()
        if now - self._used.get(fingerprint, -_USE) >= _USE:
            self._used[fingerprint] = now
            with suppress(TemplaterError):  # another process can delete the image, or lock the store for long
                self._store.use(fingerprint)


class FilesSource:
    """Image files. A metadata tarball must be followed by the root filesystem of its split image.

    Each file is opened only once, to be described, hashed and served. The served image stays the same if
    another user replaces the file at the path.
    """

    def __init__(
        self, paths: Sequence[str], aliases: Sequence[str], report: Report, limits: Limits = DEFAULT
    ) -> None:
        images = []
        with ExitStack() as stack:
            rest = [refuse_private(stack.enter_context(opened(_file(path)))) for path in paths]
            while rest:
                images.append(_read_image(rest, limits))
            if aliases and len(images) != 1:
                raise UsageError("--alias needs exactly one image")
            images = [replace(image, aliases=(*image.aliases, *aliases)) for image in images]
            self._listing, self._files = listing_of(images, report)

    def changed(self) -> bool:
        return False

    def load(self) -> Listing:
        return self._listing

    def open(self, path: str, /) -> int:
        return self._files.open(path)


def _file(path: str) -> str:
    if os.path.isdir(path):
        raise UsageError(
            f"'{path}' is a directory",
            hint=f"pack the directory first: templater image build {path} -o FILE",
        )
    return path


def _read_image(rest: list[OpenFile], limits: Limits) -> LocalImage:
    """Remove the first image's files from ``rest``, and describe the image."""
    first = rest.pop(0)
    found = describe(first, limits=limits)
    paths = [first]
    if found.fingerprint is None:
        if not rest:
            raise UsageError(
                f"'{first}' is the metadata of a split image, without a root filesystem",
                hint="give both files: the metadata tarball, then the root filesystem",
            )
        paths.append(rest.pop(0))
        found = describe(first, paths[1], limits)
    assert found.fingerprint is not None
    facts = found.metadata
    hashes = (found.fingerprint,) if len(paths) == 1 else tuple(map(fingerprint, paths))
    kind = VIRTUAL_MACHINE if found.rootfs == QCOW2 else CONTAINER
    try:
        names = tuple(default_aliases(product_fields(facts)))
    except KeyError:
        names = ()
    return LocalImage(tuple(paths), hashes, found.fingerprint, kind, facts, names)
