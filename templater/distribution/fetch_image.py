"""Functions that fetch an image from a server by its address, such as ``images:debian/13/cloud``.

The templates of a split image are in the metadata tarball, which is a small file. If a command needs only the
templates, templater fetches only this file.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from types import MappingProxyType
from urllib.parse import unquote, urlunsplit

from ..model.architectures import KERNEL_NAMES
from ..model.errors import InputError, RefusedError, UsageError
from ..model.progress import Progress, silent
from ..model.unprintable_characters import printable
from ..model.url_password import without_password
from .catalog_decoder import Item
from .client_image_list import Image, list_images
from .downloads import MOST_BYTES, Downloads, bounded, download_of, expected_size
from .https_client import UrlPieces, UrlStream, content_length
from .image_api_client import (
    HttpsServer,
    LocalDaemon,
    RangeServer,
    ServerImage,
    export,
    export_rest,
    find_image,
    is_hash,
)
from .list_stream import read_products
from .remotes import API, RESERVED, SIMPLESTREAMS, Remote, read_remotes
from .store import Store, StoredImage
from .url import split_url
from .verify_files import SHA256

#: the clients whose image lists are searched, in this order
_CLIENTS = ("incus-7", "lxd")
#: LXD accepts the aliases of this server with and without this prefix
_UBUNTU, _PREFIX = "https://cloud-images.ubuntu.com", "ubuntu/"
_MOST_METADATA = 256 << 20
_ONLY_TLS = (
    "only TLS protects the metadata: to check the fingerprint, templater would have to fetch the whole image"
)
#: maximum number of aliases to compare with an unknown alias, in order to suggest a similar alias
_MOST_COMPARED = 10_000
#: maximum length of a server's URL in a message
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Fetched:
    """Fetched files in the store: a unified image, or a metadata tarball with or without its root filesystem.

    ``notes`` tell the user which image templater chose, and how templater checked its content.
    """

    fingerprint: str
    image: str
    rootfs: str | None
    notes: tuple[str, ...]
    #: the SRC that fetches the newest version of the image; "" for an image that was imported from files
    source: str = ""

    @property
    def hashes(self) -> list[str]:
        """The SHA-256 hashes of the fetched files."""
        return [os.path.basename(path) for path in (self.image, self.rootfs) if path is not None]


def fetch_source(src: str, *, whole: bool = False, progress: Progress = silent) -> Fetched:
    """Fetch the files of SRC into the store. If ``whole`` is true, also fetch the root filesystem.

    Raises UsageError for an invalid SRC, and InputError for an unknown remote or a missing or damaged image.
    """
    if src.startswith("http://"):
        raise UsageError("templater fetches images only over https", hint="begin the URL with https://")
    if src.startswith("https://"):
        return _Fetcher(Store(), "", whole, progress).from_url(src)
    name, _, alias = src.partition(":")
    if name in ("incus", "lxd"):
        kind, _, alias = alias.partition("/")
        if kind != "image" or not alias:
            raise UsageError(
                f"'{printable(without_password(src))}' does not name an image of the local daemon",
                hint=f"give {name}:image/ALIAS",
            )
        return _Fetcher(Store(), src, whole, progress).from_api(LocalDaemon(name), alias)
    if name == "store" and alias:
        return _from_store(alias, whole, progress)
    remotes = read_remotes()
    remote = remotes.get(name)
    if (remote is None or name in RESERVED) and name != "store":
        near = get_close_matches(name, remotes, n=1)
        raise InputError(
            f"'{printable(without_password(src))}' does not exist,"
            f" and '{printable(name)}' is not a known remote",
            hint=f"did you mean '{near[0]}:'?" if near else "templater remote list shows the known remotes",
        )
    if remote is None or not alias:
        raise UsageError(
            f"'{printable(without_password(src))}' names no image", hint=f"{name}:ALIAS or {name}:FINGERPRINT"
        )
    fetcher = _Fetcher(Store(), src, whole, progress)
    if remote.protocol == SIMPLESTREAMS:
        return fetcher.from_stream(remote, alias)
    if remote.protocol == API:
        return fetcher.from_api(HttpsServer(UrlStream(remote.url, remote.trust)), alias)
    raise UsageError(
        f"templater can't read images from '{name}:': its protocol is '{printable(remote.protocol)}'"
    )


def _from_store(alias: str, whole: bool, progress: Progress) -> Fetched:
    store = Store()
    image = store.use(alias)
    if whole and not image.complete:
        if not image.source:
            raise InputError(f"the store has only the metadata of '{printable(alias)}'")
        fetched = fetch_source(image.source, whole=True, progress=progress)
        if fetched.fingerprint != image.fingerprint:
            source, found = printable(image.source), fetched.fingerprint[:12]
            raise InputError(f"'{source}' now has another image: {found}, not {image.fingerprint[:12]}")
        return fetched
    files = store.paths(image)
    notes = (
        () if image.complete else (f"the metadata was fetched from '{printable(image.source)}'", _ONLY_TLS)
    )
    rootfs = files[1] if len(files) > 1 else None
    return Fetched(image.fingerprint, files[0], rootfs, notes, image.source)


class _Fetcher:
    """The download of one image into the store. ``source`` is the SRC that the user typed."""

    def __init__(self, store: Store, source: str, whole: bool, progress: Progress) -> None:
        store.prune()
        self._store, self._source, self._whole, self._progress = store, source, whole, progress
        self._downloads = Downloads(store.files)

    def from_stream(self, remote: Remote, alias: str) -> Fetched:
        stream = UrlStream(remote.url, remote.trust)
        image, client = _find(stream, remote.name, alias)
        if not SHA256.fullmatch(image.fingerprint):
            raise InputError(
                f"'{stream.base}' announces the invalid fingerprint '{printable(image.fingerprint[:80])}'"
            )
        if len(image.files) == 1:
            files = [self._fetch_item(stream, image.files[0], MOST_BYTES)]
        else:
            metadata = image.files[0]
            with stream.small_file():
                files = [self._fetch_item(stream, metadata, _MOST_METADATA)]
            if self._whole:
                with open(files[0], "rb") as file:
                    both = hashlib.file_digest(file, "sha256")
                files.append(self._fetch_item(stream, image.files[1], MOST_BYTES, both))
                _require_fingerprint(both.hexdigest(), image.fingerprint, stream.base)
        complete = len(files) == len(image.files)
        if len(image.files) == 1:
            _require_fingerprint(os.path.basename(files[0]), image.fingerprint, stream.base)
        facts = f"{image.type}, {image.product.arch}, version {image.version.name}"
        notes = [_chosen(remote.name, alias, image.fingerprint, facts)]
        if client == "lxd":
            notes.append(f"{remote.name} publishes this image only for LXD")
        names = {"os": image.product.os, "release": image.product.release, "variant": image.product.variant}
        properties = {name: value for name, value in names.items() if value} | {"serial": image.version.name}
        return self._keep(files, image, complete, notes, properties)

    def _fetch_item(self, stream: UrlStream, item: Item, most: int, also: hashlib._Hash | None = None) -> str:
        url = stream.url(item.path)
        if not SHA256.fullmatch(item.sha256):
            raise InputError(f"'{stream.base}' announces no valid SHA-256 hash for '{url}'")
        # clients ignore the size in a catalog, and some publishers omit it
        download = download_of(stream, url, expected_size(item.size, url, most))
        return self._downloads.fetch(item.sha256, url, download, self._progress, also, item.size)

    def from_api(self, server: RangeServer, alias: str) -> Fetched:
        image = find_image(server, alias)
        files: list[str] = []
        kind = ""
        with export(server, image) as parts:
            for kind, content in parts:
                name, is_small = f"{server.name} {kind}", kind == "metadata"
                if kind == "image":
                    files.append(self._fetch_unified(server, image, content, name))
                    break
                total = max(0, content.total - sum(map(os.path.getsize, files))) if self._whole else 0
                most = _MOST_METADATA if is_small else MOST_BYTES
                with server.small_file() if is_small else nullcontext():
                    files.append(self._downloads.keep(content, name, self._progress, most, total))
                if kind == "metadata" and not self._whole:
                    break
        complete = self._whole or kind == "image"
        if complete and kind != "image":
            _compare_fingerprint(files, image.fingerprint, server.name)
        notes = [
            f"using the {image.type} image {image.fingerprint[:12]} of {server.name} ({image.architecture})"
        ]
        if not complete and not isinstance(server, LocalDaemon):
            notes.append(_ONLY_TLS)
        return self._keep(files, image, complete, notes)

    def _fetch_unified(self, server: RangeServer, image: ServerImage, content: UrlPieces, name: str) -> str:
        """Fetch a unified image, whose fingerprint is the hash of its only file.

        ``content`` is the server's answer to a request for the whole file.
        """
        is_new = True

        @contextmanager
        def download(start: int, /) -> Iterator[tuple[int, UrlPieces]]:
            nonlocal is_new
            # Use ``content`` only for the first request: later, the server may have closed its connection.
            whole = nullcontext((0, content)) if is_new and not start else None
            is_new = False
            with whole or export_rest(server, image, start) as (first, found):
                yield first, UrlPieces(bounded(found, MOST_BYTES - first, name), total=found.total)

        return self._downloads.fetch(image.fingerprint, name, download, self._progress)

    def from_url(self, url: str) -> Fetched:
        """Fetch the unified image that the headers of the server's answer name, as Incus does.

        If the headers name no image, fetch the file at ``url``.
        """
        stream, address = _split(url)
        self._source = address
        digest, place = _announced(stream, address)
        if digest:
            try:
                stream, address = _split(place)
            except UsageError as error:
                problem = f"'{address}' leads to the invalid URL '{printable(place[:_LONGEST])}'"
                raise InputError(f"{problem}: {error.message}") from None
            path = self._downloads.fetch(
                digest, address, download_of(stream, address, MOST_BYTES), self._progress
            )
            note = f"using the image {digest[:12]} that {stream.base} announces"
        else:
            try:
                with stream.open(address) as answer:
                    content, total = stream.body(answer, address), content_length(answer) or 0
                    path = self._downloads.keep(content, address, self._progress, MOST_BYTES, total)
            except FileNotFoundError:
                raise InputError(f"'{address}' does not exist") from None
            note = f"the server announced no hash: only TLS protects {address}"
        return self._keep([path], ServerImage(os.path.basename(path), "", ""), True, [note])

    def _keep(
        self, files: list[str], image: Image | ServerImage, complete: bool, notes: list[str],
        properties: Mapping[str, str] = MappingProxyType({}),
    ) -> Fetched:  # fmt: skip
        """Record a fetched image in the store, and return its files."""
        rootfs = files[1] if len(files) > 1 else None
        fetched = Fetched(image.fingerprint, files[0], rootfs, tuple(map(printable, notes)), self._source)
        now = int(time.time())
        self._store.cache(
            StoredImage(
                image.fingerprint, image.type, image.architecture, 0, 0, now, now,
                public=False, auto_update=False, cached=True, source=self._source,
                metadata=fetched.hashes[0], root="".join(fetched.hashes[1:]),
                complete=complete, properties=properties,
            )
        )  # fmt: skip
        return fetched


# simplestreams


def _find(stream: UrlStream, remote: str, alias: str) -> tuple[Image, str]:
    """Return the image and the client that lists it. Raises InputError for an unknown or ambiguous name."""
    products = read_products(stream)
    if stream.base.startswith(_UBUNTU):
        alias = alias.removeprefix(_PREFIX)
    known: dict[str, None] = {}
    for client in _CLIENTS:
        images, _ = list_images(products, client)
        named = [] if is_hash(alias) else [image for image in images if alias in image.aliases]
        if not named and len(alias) >= 6:
            named = [image for image in images if image.fingerprint.startswith(alias)]
            if len({image.fingerprint for image in named}) > 1:
                raise InputError(
                    f"several fingerprints begin with '{printable(alias)}'", hint="give more characters"
                )
        if named:
            image = min(named, key=_preference)
            if alias in image.random:
                raise InputError(
                    f"'{printable(alias)}' is an alias of several images: clients select a random one",
                    hint=f"use the fingerprint of an image, such as '{remote}:{image.fingerprint[:12]}'",
                )
            return image, client
        known.update(dict.fromkeys(name for image in images for name in image.aliases))
    compared = () if is_hash(alias) else islice(known, _MOST_COMPARED)
    near = get_close_matches(alias, compared, n=3)
    raise InputError(
        f"'{stream.base}' has no image '{printable(alias)}'",
        hint="did you mean " + " or ".join(f"'{remote}:{printable(name)}'" for name in near) + "?"
        if near
        else "",
    )


def _preference(image: Image) -> tuple[bool, bool]:
    """Return a sort key: containers before virtual machines, then this computer's architecture first."""
    return image.type != "container", image.architecture != KERNEL_NAMES.get(platform.machine())


def _compare_fingerprint(paths: Iterable[str], fingerprint: str, server: str) -> None:
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    _require_fingerprint(digest.hexdigest(), fingerprint, server)


def _require_fingerprint(found: str, announced: str, server: str) -> None:
    if found != announced:
        raise InputError(f"'{server}' announced the fingerprint {announced}, but the files have {found}")


def _chosen(remote: str, alias: str, fingerprint: str, facts: str) -> str:
    text = f"using {remote}:{fingerprint[:12]} ({facts})"
    return text if fingerprint.startswith(alias) else f"{text}; use {remote}:FINGERPRINT for another image"


# https


def _split(url: str) -> tuple[UrlStream, str]:
    """Return the server of a URL, and the URL without its password."""
    parts = split_url(url)
    stream = UrlStream(urlunsplit((parts.scheme, parts.netloc, "", "", "")))
    return stream, stream.url(unquote(parts.path)) if parts.path.strip("/") else f"{stream.base}/"


def _announced(stream: UrlStream, address: str) -> tuple[str, str]:
    """Request the headers of ``address``, and return the image hash and the image URL.

    Return two empty strings if the headers name no image. Accept any HTTP status.
    """
    machine = KERNEL_NAMES.get(platform.machine(), platform.machine())
    headers = {f"{family}-Server-Architectures": machine for family in ("Incus", "LXD")}
    headers |= {"Incus-Server-Version": "7.0.0", "LXD-Server-Version": "6.8"}
    found = stream.headers(address, headers)
    announced = ((found[f"{family}-Image-Hash"], found[f"{family}-Image-URL"]) for family in ("Incus", "LXD"))
    digest, place = next(((digest, place) for digest, place in announced if digest and place), ("", ""))
    if not digest:
        return "", ""
    if not SHA256.fullmatch(digest):
        raise InputError(f"'{address}' announces the invalid hash '{printable(digest[:_LONGEST])}'")
    if not place.startswith("https://"):
        raise RefusedError(f"'{address}' leads to a URL without https: '{printable(place[:_LONGEST])}'")
    return digest, place
