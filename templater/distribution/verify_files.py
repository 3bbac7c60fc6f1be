"""The check of a stream's image files: sizes, hashes, fingerprints, and files that no client requests."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..model.counters_of_work import input_size
from ..model.errors import InputError, LimitError, TemplaterError
from ..model.progress import Progress
from ..model.unprintable_characters import printable
from .catalog_decoder import Item, Product
from .client_image_list import Image
from .downloads import MOST_BYTES
from .https_client import RedirectError, UrlPieces
from .remove_and_prune import read_removed
from .stream_interface import LocalPieces, LocalStream, Stream
from .tree import IMAGES
from .tree_catalog import clean_path
from .verify_report import ERROR, WARNING, Report, place_of

SHA256 = re.compile(r"[0-9a-f]{64}")
#: reading a file stops at this many bytes plus twice the size in the catalog
_SPARE = 1 << 30
#: the hashed holes of all files may have at most this many bytes more than the hashed data of all files
_MOST_HOLES = 1 << 30
#: limit on hashed bytes of decompressed responses: a fixed number, plus a number for each received byte
_MOST_DECOMPRESSED, _RATIO = 1 << 30, 200
#: limit on fingerprints checked for one root filesystem: each check hashes the whole file again
MOST_COMBINED = 16


class _UncheckedError(InputError):
    """The error for a file that takes too long to check, although clients may accept the file."""


@dataclass(slots=True)
class _File:
    """All items of the catalog that name the same path."""

    #: pairs: the names of an item's product, version and item, and the item
    items: list[tuple[tuple[str, str, str], Item]] = field(default_factory=list)
    failed: bool = False
    #: whether clients download the file
    used: bool = False
    #: whether the file has a root filesystem
    has_root: bool = False


@dataclass(slots=True)
class _Content:
    """The size of a file, and the hashes of the file if it was read."""

    size: int
    #: the state of the hash, to which more content can be added
    hash: Any = None
    #: whether the server sent the file compressed, so that clients decompress it
    is_encoded: bool = False
    #: Fingerprints of split images, by the hash of the metadata file. Each fingerprint is the hash of the
    #: metadata file followed by this file.
    combined: dict[str, str] = field(default_factory=dict)


class ContentReader:
    """A reader that hashes each file on disk only once, even if hard links or symlinks lead to the file."""

    def __init__(self, stream: Stream, report: Report, progress: Progress) -> None:
        self.stream = stream
        self._report, self._progress = report, progress
        #: the hashes of files with several paths, by the key of ``LocalPieces``
        self._seen: dict[tuple[int, ...], _Content] = {}
        #: the number of bytes by which the hashed holes may still exceed the hashed data
        self._most_holes = _MOST_HOLES
        #: the number of hashed bytes of decompressed responses, and ``input_size()`` at the start
        self._decompressed, self._input = 0, input_size()

    def size(self, path: str) -> _Content | None:
        size = self.stream.size(path)
        return None if size is None else _Content(size)

    def read(self, path: str, most: int, starts: Mapping[str, Any]) -> _Content:
        """Hash a file. Raises InputError for a file of more than ``most`` bytes, and for a hostile file.

        ``starts`` maps the hash of each metadata file to its hash object. From these objects, also compute
        fingerprints of split images.
        """
        with self.stream.pieces(path) as pieces:
            key = pieces.key if isinstance(pieces, LocalPieces) else None
            seen = self._seen.get(key, _Content(0)) if key else _Content(0)
            missing = [name for name in starts if name not in seen.combined]
            missing = missing[: MOST_COMBINED - len(seen.combined)]
            if seen.hash is not None and not missing:
                return seen
            if isinstance(pieces, LocalPieces):
                if pieces.size > most:
                    raise _UncheckedError(
                        f"the file has {pieces.size} bytes, far more than an image should have"
                    )
                self._count_holes(pieces, 1 + len(missing))
            digest, others = hashlib.sha256(), {name: starts[name].copy() for name in missing}
            size = 0
            is_encoded = isinstance(pieces, UrlPieces) and pieces.is_encoded
            for piece in pieces:
                if is_encoded:
                    self._count_decompressed(len(piece) * (1 + len(missing)))
                for each in (digest, *others.values()):
                    each.update(piece)
                size += len(piece)
                self._report.bytes += len(piece)
                self._progress(self._report.files, self._report.bytes, path)
                if size > most:
                    raise _UncheckedError(
                        f"the file has over {most} bytes, far more than an image should have"
                    )
        combined = {name: other.hexdigest() for name, other in others.items()}
        content = _Content(size, digest, is_encoded, seen.combined | combined)
        if key:
            self._seen[key] = content
        return content

    def _count_holes(self, pieces: LocalPieces, times: int) -> None:
        """Raise an error if hashing the holes of files would take much longer than hashing their data.

        Compare the totals of all files so far. ``times`` is the number of hashes of this file.
        """
        most = (self._most_holes // times + pieces.size) // 2
        holes = pieces.holes(most)
        if holes > most:
            raise _UncheckedError("the file is sparse, and most of it is empty")
        self._most_holes += (pieces.size - 2 * holes) * times

    def _count_decompressed(self, size: int) -> None:
        """Raise an error if hashing decompressed responses would take much longer than receiving them.

        Compare the totals of all files. ``size`` is the number of bytes times the number of hashes.
        """
        self._decompressed += size
        if self._decompressed > _MOST_DECOMPRESSED + _RATIO * (input_size() - self._input):
            raise _UncheckedError("the server's gzip responses decompress to far more than their size")


def check_files(
    reader: ContentReader,
    products: list[Product],
    images: Mapping[str, list[Image]],
    report: Report,
    metadata_only: bool,
) -> Iterable[str]:
    """Check the files of the products.

    ``images`` has the images that each client lists. Return the paths of the checked files.
    """
    files = _collect_files(products)
    metadata_of: dict[str, dict[str, None]] = {}
    for image in (image for each in images.values() for image in each):
        for item in image.files:
            if (file := files.get(clean_path(item.path))) is not None:
                file.used = True
        if image.root is not None:
            metadata_of.setdefault(clean_path(image.root.path), {})[clean_path(image.metadata.path)] = None
    starts: dict[str, Any] = {}
    for path, file in files.items():
        if not file.has_root and (content := _check_file(reader, path, file, report)):
            starts[path] = content.hash
    combined: dict[tuple[str, str], str] = {}
    for path, file in files.items():
        if not file.has_root:
            continue
        hashes = {first: starts[first].hexdigest() for first in metadata_of.get(path, ()) if first in starts}
        others = {hashes[first]: starts[first] for first in hashes}
        content = _check_file(reader, path, file, report, hashing=not metadata_only, starts=others)
        if metadata_only or content is None:
            continue
        if not others.keys() <= content.combined.keys():
            message = f"{len(others)} images use this file; only {MOST_COMBINED} fingerprints are checked"
            report.add(WARNING, "many-combined", f"'{printable(path)}'", message)
        if not file.failed:
            found = {first: content.combined.get(digest) for first, digest in hashes.items()}
            combined.update({(first, path): digest for first, digest in found.items() if digest})
    _check_combined(images, combined, report)
    return files


def _collect_files(products: Iterable[Product]) -> dict[str, _File]:
    files: dict[str, _File] = {}
    for product in products:
        for version in product.versions.values():
            for key, item in version.items.items():
                path = clean_path(item.path)
                if not path or "://" in item.path:
                    continue
                file = files.setdefault(path, _File())
                file.items.append(((product.name, version.name, key), item))
                metadata = item.ftype.endswith(".tar.xz") and item.ftype != "root.tar.xz"
                file.has_root = file.has_root or not metadata
    return files


def _check_file(
    reader: ContentReader,
    path: str,
    file: _File,
    report: Report,
    *,
    hashing: bool = True,
    starts: Mapping[str, Any] = MappingProxyType({}),
) -> _Content | None:
    """Compare one file with every item that names it. For ``starts``, see ``ContentReader.read``.

    Return None if the file is missing or unreadable, or if its size is unknown.
    """
    place = f"'{printable(path)}'"
    # Incus accepts a file of another size than in the catalog, so read a file even if it is somewhat larger.
    most = min(MOST_BYTES, _SPARE + 2 * max(0, *(item.size for _, item in file.items)))
    level = ERROR if file.used else WARNING
    try:
        content = reader.read(path, most, starts) if hashing else reader.size(path)
    except FileNotFoundError:
        file.failed = True
        report.add(level, "missing", place, _download("the file is missing", file))
        return None
    except LimitError:  # no further file can be requested
        raise
    except RedirectError as error:
        file.failed = True
        report.add(WARNING, "redirect", place, f"not checked: {error.message}; clients follow the redirect")
        return None
    except _UncheckedError as error:
        file.failed = True
        report.add(level, "unreadable", place, f"not checked: {error.message}")
        return None
    except TemplaterError as error:
        file.failed = True
        report.add(level, "unreadable", place, _download(error.message, file))
        return None
    report.files += 1
    if content and content.hash:
        _compare_hash(content, file, report, level)
    if content and not (content.is_encoded and file.failed):
        _compare_size(content.size, file, report)
    return content


def _download(why: str, file: _File) -> str:
    return f"the image can't be downloaded: {why}" if file.used else f"{why}; no client requests this file"


def _compare_hash(content: _Content, file: _File, report: Report, level: str) -> None:
    digest = content.hash.hexdigest()
    for names, item in file.items:
        if SHA256.fullmatch(item.sha256) and item.sha256 != digest:
            why = f"the file's sha256 is {digest}"
            if content.is_encoded:
                why += " after clients decompress the file, because the server sends Content-Encoding: gzip"
            report.add(level, "hash", place_of(*names), _download(why, file))
            file.failed = True


def _compare_size(size: int, file: _File, report: Report) -> None:
    for names, item in file.items:
        if item.size == size:
            continue
        place = place_of(*names)
        message = f"the size is {size}, not {item.size}"
        if item.size < size and file.used:
            report.add(ERROR, "size", place, f"the image can't be downloaded: {message}", ("lxd",))
            report.add(WARNING, "size", place, message, ("incus-6.0", "incus-7"))
        else:
            report.add(WARNING, "size", place, message)


def _check_combined(
    images: Mapping[str, list[Image]], combined: Mapping[tuple[str, str], str], report: Report
) -> None:
    for client, listed in images.items():
        for image in listed:
            if image.root is None:
                continue
            found = combined.get((clean_path(image.metadata.path), clean_path(image.root.path)))
            if found is not None and found != image.fingerprint and SHA256.fullmatch(image.fingerprint):
                place = place_of(image.product.name, image.version.name, image.kind)
                message = f"the image can't be downloaded: its files have the fingerprint {found}"
                report.add(ERROR, "combined", place, message, (client,))


def check_strays(stream: Stream, paths: set[int], report: Report) -> None:
    if not isinstance(stream, LocalStream):
        return
    known = read_removed(stream.tree)
    strays = [path for path in stream.tree.content_files() if hash(path) not in paths and path not in known]
    if strays:
        message = (
            f"the catalog does not list {len(strays)} files, such as '{strays[0]}';"
            " `templater streams prune` deletes them after a grace period"
        )
        report.add(WARNING, "stray", f"'{IMAGES}'", message)
