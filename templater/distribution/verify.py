"""A check of a stream: the entries that clients drop, misread or fail on, and why."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..model.errors import InputError, LimitError, TemplaterError
from ..model.source import printable
from .catalog import (
    CLIENTS,
    DOWNLOADS,
    INDEX_PATH,
    CatalogFiles,
    Decoded,
    IndexEntry,
    Item,
    Product,
    decode_index,
    decode_products,
)
from .client_view import Image, day, list_images
from .tree import IMAGES, Tree, clean_path

ERROR, WARNING = "error", "warning"
SHA256 = re.compile(r"[0-9a-f]{64}")
#: `incus image list` cuts fingerprints to 12 characters, and panics at shorter ones
_SHOWN_FINGERPRINT = 12
#: a file is read at most this many bytes beyond the size that the catalog gives
_SPARE = 1 << 30
#: limit on fingerprints checked for one root filesystem, because each one hashes the whole file again
_MOST_COMBINED = 16
#: a function that receives the number of files done, the bytes read so far, and the current path
Progress = Callable[[int, int, str], None]


class Stream(Protocol):
    """A tree on disk or at a URL. For a missing file, the methods raise FileNotFoundError."""

    def read(self, path: str, /) -> bytes: ...

    def size(self, path: str, /) -> int | None:
        """Return the size of a file, or None if only reading the whole file would show the size."""

    def pieces(self, path: str, /) -> AbstractContextManager[Iterator[bytes]]: ...


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem that affects ``clients``. ``code`` identifies the kind of problem in JSON output."""

    level: str
    code: str
    place: str
    message: str
    clients: tuple[str, ...] = CLIENTS


@dataclass(slots=True)
class Report:
    problems: list[Problem] = field(default_factory=list)
    #: the images that each client lists; None if the client can't use the stream at all
    images: dict[str, list[Image] | None] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0

    def add(self, level: str, code: str, place: str, message: str, clients: Iterable[str] = CLIENTS) -> None:
        self.problems.append(Problem(level, code, place, message, tuple(clients)))

    def errors(self, clients: Iterable[str] = CLIENTS) -> list[Problem]:
        wanted = set(clients)
        return [each for each in self.problems if each.level == ERROR and wanted & set(each.clients)]


def verify(
    stream: Stream,
    *,
    metadata_only: bool = False,
    clients: tuple[str, ...] = CLIENTS,
    progress: Progress = lambda files, size, path: None,
) -> Report:
    """Check a whole stream. ``metadata_only``: check only the sizes of root filesystems, not the content."""
    report = Report()
    products = _read_catalog(stream, report)
    if products is None:
        report.images = dict.fromkeys(clients)
        return report
    failing = {client for problem in report.problems if problem.code in _FATAL for client in problem.clients}
    _check_products(products, report)
    for client in clients:
        if client in failing:
            report.images[client] = None
            continue
        images, dropped = list_images(products, client)
        report.images[client] = images
        for each in dropped:
            place = _place(each.product, each.version)
            report.add(ERROR, each.code, place, f"not listed: {printable(each.reason)}", (client,))
        _check_images(images, client, report)
    _check_files(stream, products, report, metadata_only, progress)
    _join_clients(report)
    return report


#: problems that make a client list nothing at all
_FATAL = {"index", "products", "type"}


def _place(product: str, version: str = "", item: str = "") -> str:
    place = f"product '{printable(product)}'"
    if version:
        place += f", version '{printable(version)}'"
    return place + (f", item '{printable(item)}'" if item else "")


# the catalog


def _read_catalog(stream: Stream, report: Report) -> list[Product] | None:
    """Return every product that clients read; None if no client can use the stream."""
    decoded = Decoded()
    files = CatalogFiles(stream.read)
    raw = _read_json(files, INDEX_PATH, "index", report)
    if raw is None:
        return None
    entries = decode_index(raw, decoded)
    products: list[Product] = []
    basenames: dict[str, str] = {}
    for entry in entries:
        products += _read_entry(files, entry, basenames, decoded, report)
    for mismatch in decoded.mismatches:
        message = f"the client lists nothing at all: {mismatch.message}"
        report.add(ERROR, "type", mismatch.place, message, mismatch.clients)
    for place in decoded.odd_keys:
        report.add(WARNING, "key-case", place, "this key is not in lower case; clients accept it")
    return products


def _read_json(files: CatalogFiles, path: str, code: str, report: Report) -> Any:
    try:
        return files.parse(path)
    except FileNotFoundError:
        report.add(
            ERROR, code, f"'{printable(path)}'", "the client lists nothing at all: the file is missing"
        )
    except LimitError:
        raise
    except InputError as error:
        report.add(ERROR, code, f"'{printable(path)}'", f"the client lists nothing at all: {error.message}")
    return None


def _read_entry(
    files: CatalogFiles, entry: IndexEntry, basenames: dict[str, str], decoded: Decoded, report: Report
) -> list[Product]:
    place = f"index entry '{printable(entry.name)}'"
    if entry.datatype != DOWNLOADS:
        message = f"clients skip this entry: its datatype is '{printable(entry.datatype)}'"
        report.add(WARNING, "datatype", place, message)
        return []
    path = clean_path(entry.path)
    if not entry.products:
        empty = path and not _products_in(files, path)
        if not empty:
            report.add(
                ERROR, "empty-products", place, "every client skips this entry: its list of products is empty"
            )
        return []
    if not path:
        report.add(ERROR, "index", place, "the client lists nothing at all: the entry has no valid path")
        return []
    name = posixpath.basename(path)
    if name == "index.json" or basenames.setdefault(name, path) != path:
        message = f"clients cache files by base name, and two files are named '{printable(name)}'"
        report.add(ERROR, "cache-name", place, message)
    raw = _read_json(files, path, "products", report)
    if raw is None:
        return []
    if path not in files.products:
        files.products[path] = list(decode_products(raw, f"'{printable(path)}'", decoded))
    products = files.products[path]
    if {product.name for product in products} != set(entry.products):
        message = "the entry's list of products differs from the products file; clients ignore the difference"
        report.add(WARNING, "index-products", place, message)
    return products


def _products_in(files: CatalogFiles, path: str) -> bool:
    try:
        return any(decode_products(files.parse(path), path, Decoded()))
    except (FileNotFoundError, InputError):
        return False


def _check_products(products: Iterable[Product], report: Report) -> None:
    variants: dict[tuple[str, str], dict[bool, str]] = {}
    for product in products:
        place = _place(product.name)
        for alias in product.aliases.split(",") if product.aliases else ():
            if not alias or alias != "".join(alias.split()):
                message = f"the alias '{printable(alias)}' contains spaces, which clients keep"
                report.add(ERROR, "alias-blank", place, message if alias else "an alias is empty")
        if product.support_eol and day(product.support_eol, "%Y-%m-%d") is None:
            message = f"no expiry date: support_eol '{printable(product.support_eol)}' is not YYYY-MM-DD"
            report.add(WARNING, "support-eol", place, message)
        lengths = {len(name) for name in product.versions}
        if len(lengths) > 1:
            message = "version names have different lengths, but clients sort them as strings"
            report.add(WARNING, "version-format", place, message)
        variants.setdefault((product.os, product.release), {})[bool(product.variant)] = product.name
    for (os_, release), seen in variants.items():
        if len(seen) > 1:
            place = f"os '{printable(os_)}', release '{printable(release)}'"
            message = (
                f"aliases go to random versions: product '{printable(seen[False])}' has no variant,"
                f" and '{printable(seen[True])}' has one"
            )
            report.add(ERROR, "variant", place, message)


# images


def _check_images(images: list[Image], client: str, report: Report) -> None:
    fingerprints: dict[str, Image] = {}
    owners: dict[tuple[str, str, str], Image] = {}
    seen: set[tuple[int, str, str]] = set()
    for image in images:
        place = _place(image.product.name, image.version.name)
        for problem in image_problems(image, client):
            report.add(problem.level, problem.code, place, problem.message, (client,))
        first = fingerprints.setdefault(image.fingerprint, image)
        if first is not image:
            for one, other in ((first, image), (image, first)):
                message = f"the image can't be downloaded: {_name(other)} has the same fingerprint"
                place = _place(one.product.name, one.version.name)
                report.add(ERROR, "twice", place, message, (client,))
        kind = (id(image.product), image.type, image.architecture)
        if kind in seen:  # the other versions of a product have the same aliases
            continue
        seen.add(kind)
        for name in image.product.aliases.split(",") if image.product.aliases else ():
            owner = owners.setdefault((image.type, image.architecture, name), image)
            if owner.product is not image.product:
                selected = printable(owner.product.name)
                message = f"the alias '{printable(name)}' selects another product: '{selected}'"
                report.add(WARNING, "alias-taken", _place(image.product.name), message, (client,))


def _name(image: Image) -> str:
    return f"version '{printable(image.version.name)}' of '{printable(image.product.name)}'"


def image_problems(image: Image, client: str) -> Iterator[Problem]:
    fingerprint = image.fingerprint
    if len(fingerprint) < _SHOWN_FINGERPRINT:
        message = f"`image list` crashes: the fingerprint '{printable(fingerprint)}' is too short"
        yield Problem(ERROR, "short-fingerprint", "", message)
    elif not SHA256.fullmatch(fingerprint):
        message = f"the image can't be downloaded: '{printable(fingerprint)}' is not a sha256 in lower case"
        yield Problem(ERROR, "fingerprint", "", message)
    for item in image.files:
        if not item.path:
            message = f"the image can't be downloaded: '{printable(item.ftype)}' has no path"
            yield Problem(ERROR, "no-path", "", message)
        elif not clean_path(item.path) or "://" in item.path:
            message = (
                f"the image can't be downloaded: '{printable(item.path)}' is not a path below the stream"
            )
            yield Problem(ERROR, "path", "", message)
        if not SHA256.fullmatch(item.sha256):
            shown = f"'{printable(item.sha256)}' of '{item.ftype}' is not a sha256 in lower case"
            message = (
                f"the image can't be downloaded: {shown if item.sha256 else f'{item.ftype!r} has no sha256'}"
            )
            yield Problem(ERROR, "sha256", "", message)
    combined_type = image.metadata.combined_type
    if image.root is None and combined_type == "virtual-machine" and image.type == "container":
        message = "this image is listed as a container: the client ignores combined_type 'virtual-machine'"
        yield Problem(ERROR, "combined-type", "", message)


# files


@dataclass(slots=True)
class _File:
    """The items of the catalog that name one path, and the result of checking its file."""

    items: list[tuple[str, Item]] = field(default_factory=list)
    digest: str = ""
    size: int = 0
    failed: bool = False
    #: whether clients download the file
    used: bool = False
    is_root: bool = False


def _check_files(
    stream: Stream,
    products: list[Product],
    report: Report,
    metadata_only: bool,
    progress: Progress,
) -> None:
    files = _collect_files(products)
    metadata_of: dict[str, dict[str, None]] = {}
    for image in _all_images(report):
        for item in image.files:
            if (file := files.get(clean_path(item.path))) is not None:
                file.used = True
        if image.root is not None:
            metadata_of.setdefault(clean_path(image.root.path), {})[clean_path(image.metadata.path)] = None
    starts: dict[str, Any] = {}
    for path, file in files.items():
        if not file.is_root:
            starts[path] = _check_file(stream, path, file, report, progress)
    combined: dict[tuple[str, str], str] = {}
    for path, file in files.items():
        if not file.is_root:
            continue
        firsts = [first for first in metadata_of.get(path, ()) if starts.get(first) is not None]
        if len(firsts) > _MOST_COMBINED:
            message = f"{len(firsts)} images use this file; only {_MOST_COMBINED} fingerprints are checked"
            report.add(WARNING, "many-combined", f"'{printable(path)}'", message)
        digests = {first: starts[first].copy() for first in firsts[:_MOST_COMBINED]}
        others = tuple(digests.values())
        _check_file(stream, path, file, report, progress, hashing=not metadata_only, others=others)
        if not metadata_only and not file.failed:
            combined.update({(first, path): digest.hexdigest() for first, digest in digests.items()})
    _check_combined(report, combined)
    _check_strays(stream, files, report)


def _collect_files(products: Iterable[Product]) -> dict[str, _File]:
    files: dict[str, _File] = {}
    for product in products:
        for version in product.versions.values():
            for key, item in version.items.items():
                path = clean_path(item.path)
                if not path or "://" in item.path:
                    continue
                file = files.setdefault(path, _File())
                file.items.append((_place(product.name, version.name, key), item))
                metadata = (
                    item.ftype.endswith((".tar.xz", "_combined.tar.gz")) and item.ftype != "root.tar.xz"
                )
                file.is_root = file.is_root or not metadata
    return files


def _all_images(report: Report) -> Iterator[Image]:
    for images in report.images.values():
        yield from images or ()


def _check_file(
    stream: Stream,
    path: str,
    file: _File,
    report: Report,
    progress: Progress,
    *,
    hashing: bool = True,
    others: Iterable[Any] = (),
) -> Any:
    """Compare one file with every item that names it.

    Update the hash objects ``others`` with the file's content. Return the file's hash object, or None if
    the file is missing or unreadable.
    """
    digest = hashlib.sha256()
    place = f"'{printable(path)}'"
    # Incus accepts a file of another size, so stop reading only far beyond the catalog's size.
    most = _SPARE + 2 * max(0, *(item.size for _, item in file.items))
    level = ERROR if file.used else WARNING
    try:
        known = None if hashing else stream.size(path)
        if hashing:
            with stream.pieces(path) as pieces:
                for piece in pieces:
                    digest.update(piece)
                    for other in others:
                        other.update(piece)
                    file.size += len(piece)
                    report.bytes += len(piece)
                    progress(report.files, report.bytes, path)
                    if file.size > most:
                        raise LimitError(f"the file has over {most} bytes, far more than in the catalog")
        elif known is not None:
            file.size = known
    except FileNotFoundError:
        file.failed = True
        report.add(level, "missing", place, _download("the file is missing", file))
        return None
    except TemplaterError as error:
        file.failed = True
        report.add(level, "unreadable", place, _download(error.message, file))
        return None
    report.files += 1
    if hashing:
        _compare_hash(digest.hexdigest(), file, report, level)
    if hashing or known is not None:
        _compare_size(file, report)
    return digest


def _download(why: str, file: _File) -> str:
    return f"the image can't be downloaded: {why}" if file.used else f"{why}; no client requests this file"


def _compare_hash(digest: str, file: _File, report: Report, level: str) -> None:
    for place, item in file.items:
        if SHA256.fullmatch(item.sha256) and item.sha256 != digest:
            report.add(level, "hash", place, _download(f"the file's sha256 is {digest}", file))
            file.failed = True


def _compare_size(file: _File, report: Report) -> None:
    for place, item in file.items:
        if item.size == file.size:
            continue
        message = f"the size is {file.size}, not {item.size}"
        if item.size < file.size and file.used:
            report.add(ERROR, "size", place, f"the image can't be downloaded: {message}", ("lxd",))
            report.add(WARNING, "size", place, message, ("incus-6.0", "incus-7"))
        else:
            report.add(WARNING, "size", place, message)


def _check_combined(report: Report, combined: Mapping[tuple[str, str], str]) -> None:
    for client, images in report.images.items():
        for image in images or ():
            if image.root is None:
                continue
            found = combined.get((clean_path(image.metadata.path), clean_path(image.root.path)))
            if found is not None and found != image.fingerprint and SHA256.fullmatch(image.fingerprint):
                place = _place(image.product.name, image.version.name, image.kind)
                message = f"the image can't be downloaded: its files have the fingerprint {found}"
                report.add(ERROR, "combined", place, message, (client,))


def _check_strays(stream: Stream, files: Mapping[str, _File], report: Report) -> None:
    if not isinstance(stream, LocalStream):
        return
    known = set(stream.tree.removed())
    strays = [path for path in stream.tree.content_files() if path not in files and path not in known]
    if strays:
        message = f"no item names {len(strays)} files, such as '{strays[0]}'; `prune` deletes them"
        report.add(WARNING, "stray", f"'{IMAGES}'", message)


def _join_clients(report: Report) -> None:
    """Merge equal problems of several clients into one."""
    joined: dict[tuple[str, str, str, str], list[str]] = {}
    for each in report.problems:
        clients = joined.setdefault((each.level, each.code, each.place, each.message), [])
        clients += [client for client in each.clients if client not in clients]
    report.problems = [Problem(*key, tuple(clients)) for key, clients in joined.items()]


class LocalStream:
    """A tree on disk as a stream."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    def read(self, path: str, /) -> bytes:
        return self.tree.read(path)

    def size(self, path: str, /) -> int | None:
        return self.tree.size(path)

    def pieces(self, path: str, /) -> AbstractContextManager[Iterator[bytes]]:
        return self.tree.pieces(path)
