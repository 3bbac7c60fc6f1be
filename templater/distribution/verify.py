"""A check that finds the entries of a stream that clients drop, misread or fail on."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType
from typing import IO, Any, Protocol, TypeVar

from ..image.open_file import holes_of
from ..model.architectures import kernel_name
from ..model.errors import InputError, LimitError, TemplaterError
from ..model.progress import Progress, silent
from ..model.source import printable
from .catalog import CLIENTS, DOWNLOADS, INDEX_PATH, Decoded, IndexEntry, Item, Product, decode_index
from .catalog_files import CatalogFiles, ProductsFile
from .client_view import MOST_IMAGES, UNIFIED, Image, day, list_images
from .downloads import MOST_BYTES
from .tree import IMAGES, Tree, clean_path

ERROR, WARNING = "error", "warning"
SHA256 = re.compile(r"[0-9a-f]{64}")
#: `incus image list` cuts fingerprints to 12 characters, and panics at shorter ones
_SHOWN_FINGERPRINT = 12
#: a file is read at most this many bytes beyond the size that the catalog gives
_SPARE = 1 << 30
#: sparse files may have this many bytes more in holes, all together, than the tree's files have in data
_MOST_HOLES = 1 << 30
#: limit on fingerprints checked for one root filesystem: each fingerprint hashes the whole file again
MOST_COMBINED = 16
#: limits on the number of problems, and on the characters of all problems together
_MOST_PROBLEMS, _MOST_TEXT = 200_000, 32 << 20
#: the number of characters of a name or text of the catalog in a problem, which is repeated for each image
_LONGEST = 100
_PIECE = 1 << 20


_T = TypeVar("_T")


class Stream(Protocol):
    """A tree on disk or at a URL. For a missing file, the methods raise FileNotFoundError."""

    def file(self, path: str, /) -> IO[bytes]:
        """Open a file of the catalog."""

    def size(self, path: str, /) -> int | None:
        """Return the size of a file, or None if the size is unknown until the whole file is read."""

    def pieces(self, path: str, /) -> AbstractContextManager[Iterator[bytes]]:
        """Open a file, and yield an iterator over its content."""


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
    #: how many images each client lists; None if the client can't use the stream at all
    images: dict[str, int | None] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0
    #: how many characters the problems have
    text: int = 0

    def add(self, level: str, code: str, place: str, message: str, clients: Iterable[str] = CLIENTS) -> None:
        self.text += len(place) + len(message)
        if len(self.problems) == _MOST_PROBLEMS or self.text > _MOST_TEXT:
            first = self.problems[0]
            raise LimitError(
                f"the stream has more than {len(self.problems)} problems,"
                f" such as {first.place}: {first.message}"
            )
        self.problems.append(Problem(level, code, place, message, tuple(clients)))

    def errors(self, clients: Iterable[str] = CLIENTS) -> list[Problem]:
        wanted = set(clients)
        return [each for each in self.problems if each.level == ERROR and wanted & set(each.clients)]


def verify(
    stream: Stream,
    *,
    metadata_only: bool = False,
    clients: tuple[str, ...] = CLIENTS,
    progress: Progress = silent,
) -> Report:
    """Check a whole stream.

    If ``metadata_only`` is true, check only the sizes of root filesystems, not their content.
    """
    report = Report()
    with CatalogFiles(stream.file) as files:
        products = _read_catalog(files, report)
        if products is None:
            report.images = dict.fromkeys(clients)
        else:
            _Verifier(stream, clients, report, metadata_only, progress).check(products)
    _join_clients(report)
    return report


class _Verifier:
    """The check of all products. It reads one product at a time, so that a long catalog needs little memory.

    Only products that can affect each other's problems are checked together.
    """

    def __init__(
        self,
        stream: Stream,
        clients: Iterable[str],
        report: Report,
        metadata_only: bool,
        progress: Progress,
    ) -> None:
        failing = {client for each in report.problems if each.code in _FATAL for client in each.clients}
        report.images = {client: None if client in failing else 0 for client in clients}
        self._report = report
        self._metadata_only = metadata_only
        #: for each client, the number of entries that the client lists or drops
        self._entries = dict.fromkeys(report.images, 0)
        #: Python's hash() of the path of each item
        self._paths: set[int] = set()
        self._reader = _Reader(stream, report, progress)

    def check(self, products: Products) -> None:
        shared, mixed = products.shared()
        variants: dict[tuple[str, str], dict[bool, str]] = {}
        together: list[Product] = []
        for product in products:
            _check_product(product, self._report)
            if release_hash(product) in mixed:
                variants.setdefault((product.os, product.release), {})[bool(product.variant)] = product.name
            if shared.isdisjoint(tie_hashes(product)):
                self._check_images([product])
            else:
                together.append(product)
        self._check_images(together)
        _check_variants(variants, self._report)
        _check_strays(self._reader.stream, self._paths, self._report)

    def _check_images(self, products: list[Product]) -> None:
        report, found = self._report, dict[str, list[Image]]()
        for client, number in report.images.items():
            if number is None:
                continue
            images, dropped = list_images(products, client)
            report.images[client] = number + len(images)
            self._entries[client] += len(images) + len(dropped)
            if self._entries[client] > MOST_IMAGES:
                raise LimitError(f"the stream has more than {MOST_IMAGES} images")
            found[client] = images
            for each in dropped:
                place = _place(each.product, each.version)
                report.add(ERROR, each.code, place, f"not listed: {shown(each.reason)}", (client,))
            _check_images(images, client, report)
        files = _check_files(self._reader, products, found, report, self._metadata_only)
        self._paths.update(map(hash, files))


#: problems that make a client list no image at all
_FATAL = {"index", "products", "type"}


def _place(product: str, version: str = "", item: str = "") -> str:
    place = f"product '{shown(product)}'"
    if version:
        place += f", version '{shown(version)}'"
    return place + (f", item '{shown(item)}'" if item else "")


def shown(text: str) -> str:
    """Return the beginning of a text, because each of 50,000 images could repeat a long text."""
    return _shown(text[:_LONGEST])


@lru_cache(maxsize=4096)
def _shown(text: str) -> str:
    return printable(text)[:_LONGEST]


# the catalog


class Products:
    """An iterable of every product that clients read. Each iteration reads the products files again."""

    def __init__(self, files: list[ProductsFile], decoded: Decoded) -> None:
        self._files = files
        self._ties = array("q")
        #: the hashes of releases, for products without a variant and for products with a variant
        self._releases: tuple[set[int], set[int]] = set(), set()
        for product in self._read(decoded):
            self._ties.extend(tie_hashes(product))
            self._releases[bool(product.variant)].add(release_hash(product))

    def __iter__(self) -> Iterator[Product]:
        return self._read(Decoded())

    def _read(self, decoded: Decoded) -> Iterator[Product]:
        return (product for file in self._files for product in file.read(decoded))

    def shared(self) -> tuple[set[int], set[int]]:
        """Return the hashes that several products share, and the hashes of inconsistent releases.

        An inconsistent release has both products with a variant and products without a variant.
        """
        ties = sorted(self._ties)
        return {one for one, other in pairwise(ties) if one == other}, self._releases[0] & self._releases[1]


def tie_hashes(product: Product) -> set[int]:
    """Return a hash for each file, fingerprint and alias of a product.

    Two products that share a hash can affect each other.

    After a hash collision, unrelated products are checked together, which does no harm.
    """
    ties: set[tuple[str, ...]] = set()
    for version in product.versions.values():
        for item in version.items.values():
            ties.add(("path", clean_path(item.path)))
            if item.ftype.endswith(UNIFIED):
                ties.add(("fingerprint", item.sha256))
            ties.update(("fingerprint", fingerprint) for fingerprint in item.combined.values())
    ties -= {("path", ""), ("fingerprint", "")}
    aliases = product.aliases.split(",") if product.aliases else ()
    for architecture in {kernel_name(product.arch, client) for client in CLIENTS} - {None}:
        ties.update((str(architecture), alias) for alias in aliases)
    return set(map(hash, ties))


def release_hash(product: Product) -> int:
    return hash((product.os, product.release))


def _read_catalog(files: CatalogFiles, report: Report) -> Products | None:
    """Return every product that clients read, or None if no client can use the stream."""
    decoded = Decoded()
    raw = _read(files.index, INDEX_PATH, "index", report)
    if raw is None:
        return None
    entries = decode_index(raw, decoded)
    uses = Counter(clean_path(entry.path) for entry in entries)
    found: list[ProductsFile] = []
    basenames: dict[str, str] = {}
    for entry in entries:
        opened = _open_entry(files, entry, basenames, uses, decoded, report)
        # Two copies of a file are enough to find images that are listed more than once.
        if opened is not None and found.count(opened) < 2:
            found.append(opened)
    products = Products(found, decoded)
    for mismatch in decoded.mismatches:
        message = f"the client lists nothing at all: {mismatch.message}"
        report.add(ERROR, "type", mismatch.place, message, mismatch.clients)
    for place in decoded.odd_keys:
        report.add(WARNING, "key-case", place, "this key is not in lower case; clients accept it")
    return products


def _read(read: Callable[[], _T], path: str, code: str, report: Report) -> _T | None:
    try:
        return read()
    except FileNotFoundError:
        report.add(
            ERROR, code, f"'{printable(path)}'", "the client lists nothing at all: the file is missing"
        )
    except LimitError:
        raise
    except InputError as error:
        report.add(ERROR, code, f"'{printable(path)}'", f"the client lists nothing at all: {error.message}")
    return None


def _open_entry(
    files: CatalogFiles,
    entry: IndexEntry,
    basenames: dict[str, str],
    uses: Mapping[str, int],
    decoded: Decoded,
    report: Report,
) -> ProductsFile | None:
    place = f"index entry '{shown(entry.name)}'"
    if entry.datatype != DOWNLOADS:
        message = f"clients skip this entry: its datatype is '{shown(entry.datatype)}'"
        report.add(WARNING, "datatype", place, message)
        return None
    path = clean_path(entry.path)
    # If two entries name one file, clients list its image twice. Do not compare the image with itself.
    whole = uses[path] > 1
    if not entry.products:
        if not path or _has_products(files, path, whole):
            message = "every client skips this entry: its list of products is empty"
            report.add(ERROR, "empty-products", place, message)
        return None
    if not path:
        report.add(ERROR, "index", place, "the client lists nothing at all: the entry has no valid path")
        return None
    name = posixpath.basename(path)
    if name == "index.json" or basenames.setdefault(name, path) != path:
        message = f"clients cache files by base name, and two files are named '{shown(name)}'"
        report.add(ERROR, "cache-name", place, message)
    file = _read(lambda: files.products(path, decoded, whole=whole), path, "products", report)
    if file is not None and not _same(file.names(), entry.products):
        message = "the entry's list of products differs from the products file; clients ignore the difference"
        report.add(WARNING, "index-products", place, message)
    return file


def _same(names: Iterable[str], announced: Iterable[str]) -> bool:
    left = set(announced)
    for name in names:
        if name not in left:
            return False
        left.remove(name)
    return not left


def _has_products(files: CatalogFiles, path: str, whole: bool) -> bool:
    try:
        return any(True for _ in files.products(path, Decoded(), whole=whole).names())
    except (FileNotFoundError, InputError):
        return False


def _check_product(product: Product, report: Report) -> None:
    place = _place(product.name)
    for alias in product.aliases.split(",") if product.aliases else ():
        if not alias or alias != "".join(alias.split()):
            message = f"the alias '{shown(alias)}' contains spaces, which clients keep"
            report.add(ERROR, "alias-blank", place, message if alias else "an alias is empty")
    if product.support_eol and day(product.support_eol, "%Y-%m-%d") is None:
        message = f"no expiry date: support_eol '{shown(product.support_eol)}' is not YYYY-MM-DD"
        report.add(WARNING, "support-eol", place, message)
    lengths = {len(name) for name in product.versions}
    if len(lengths) > 1:
        message = "version names have different lengths, but clients sort them as strings"
        report.add(WARNING, "version-format", place, message)


def _check_variants(variants: Mapping[tuple[str, str], Mapping[bool, str]], report: Report) -> None:
    for (os_, release), seen in variants.items():
        if len(seen) > 1:
            place = f"os '{shown(os_)}', release '{shown(release)}'"
            message = (
                f"an alias can select a random version, because '{shown(seen[True])}' has a variant,"
                f" but '{shown(seen[False])}' has none"
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
                selected = shown(owner.product.name)
                message = f"the alias '{shown(name)}' selects another product: '{selected}'"
                report.add(WARNING, "alias-taken", _place(image.product.name), message, (client,))


def _name(image: Image) -> str:
    return f"version '{shown(image.version.name)}' of '{shown(image.product.name)}'"


def image_problems(image: Image, client: str) -> Iterator[Problem]:
    fingerprint = image.fingerprint
    if len(fingerprint) < _SHOWN_FINGERPRINT:
        message = f"`image list` crashes: the fingerprint '{shown(fingerprint)}' is too short"
        yield Problem(ERROR, "short-fingerprint", "", message)
    elif not SHA256.fullmatch(fingerprint):
        message = f"the image can't be downloaded: '{shown(fingerprint)}' is not a sha256 in lower case"
        yield Problem(ERROR, "fingerprint", "", message)
    for item in image.files:
        if not item.path:
            message = f"the image can't be downloaded: '{shown(item.ftype)}' has no path"
            yield Problem(ERROR, "no-path", "", message)
        elif not clean_path(item.path) or "://" in item.path:
            message = f"the image can't be downloaded: '{shown(item.path)}' is not a path below the stream"
            yield Problem(ERROR, "path", "", message)
        if not SHA256.fullmatch(item.sha256):
            wrong = f"'{shown(item.sha256)}' of '{shown(item.ftype)}' is not a sha256 in lower case"
            missing = f"'{shown(item.ftype)}' has no sha256"
            message = f"the image can't be downloaded: {wrong if item.sha256 else missing}"
            yield Problem(ERROR, "sha256", "", message)
    combined_type = image.metadata.combined_type
    if image.root is None and combined_type == "virtual-machine" and image.type == "container":
        message = "this image is listed as a container: the client ignores combined_type 'virtual-machine'"
        yield Problem(ERROR, "combined-type", "", message)


# files


@dataclass(slots=True)
class _File:
    """All items of the catalog that name one path."""

    #: each item with the names of its product and version, and its own name
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
    #: for the hash of each metadata file: the hash of the metadata file followed by this file
    combined: dict[str, str] = field(default_factory=dict)


class _Reader:
    """A reader that hashes each file on disk only once, even if a tree has several names for the file."""

    def __init__(self, stream: Stream, report: Report, progress: Progress) -> None:
        self.stream = stream
        self._report, self._progress = report, progress
        #: files with several names
        self._seen: dict[tuple[int, ...], _Content] = {}
        #: how many more bytes of holes may be hashed than bytes of data
        self._most_holes = _MOST_HOLES

    def size(self, path: str) -> _Content | None:
        size = self.stream.size(path)
        return None if size is None else _Content(size)

    def read(self, path: str, most: int, starts: Mapping[str, Any]) -> _Content:
        """Hash a file. Raises InputError for a file of more than ``most`` bytes.

        ``starts`` has the hashes of metadata files, by path. For at most ``MOST_COMBINED`` metadata
        files, the result also has the hash of the metadata file followed by this file.
        """
        with self.stream.pieces(path) as pieces:
            key = pieces.key if isinstance(pieces, _LocalPieces) else None
            seen = self._seen.get(key, _Content(0)) if key else _Content(0)
            missing = [name for name in starts if name not in seen.combined]
            missing = missing[: MOST_COMBINED - len(seen.combined)]
            if seen.hash is not None and not missing:
                return seen
            if isinstance(pieces, _LocalPieces):
                if pieces.size > most:
                    raise InputError(f"the file has {pieces.size} bytes, far more than an image should have")
                self._count_holes(pieces, 1 + len(missing))
            digest, others = hashlib.sha256(), {name: starts[name].copy() for name in missing}
            size = 0
            for piece in pieces:
                for each in (digest, *others.values()):
                    each.update(piece)
                size += len(piece)
                self._report.bytes += len(piece)
                self._progress(self._report.files, self._report.bytes, path)
                if size > most:
                    raise InputError(f"the file has over {most} bytes, far more than an image should have")
        combined = {name: other.hexdigest() for name, other in others.items()}
        content = _Content(size, digest, seen.combined | combined)
        if key:
            self._seen[key] = content
        return content

    def _count_holes(self, pieces: _LocalPieces, times: int) -> None:
        """Raise InputError if a file has so many holes that hashing them would take longer than hashing data.

        ``times`` is the number of hashes to compute over the file.
        """
        most = (self._most_holes // times + pieces.size) // 2
        holes = pieces.holes(most)
        if holes > most:
            raise InputError("the file is sparse, and most of it is empty")
        self._most_holes += (pieces.size - 2 * holes) * times


def _check_files(
    reader: _Reader,
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
    reader: _Reader,
    path: str,
    file: _File,
    report: Report,
    *,
    hashing: bool = True,
    starts: Mapping[str, Any] = MappingProxyType({}),
) -> _Content | None:
    """Compare one file with every item that names it.

    ``starts`` are the hashes of metadata files that may precede this file. Return None if the file is missing
    or unreadable, or if its size is unknown.
    """
    place = f"'{printable(path)}'"
    # Incus accepts a file of another size, so stop reading only far beyond the catalog's size.
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
    except TemplaterError as error:
        file.failed = True
        report.add(level, "unreadable", place, _download(error.message, file))
        return None
    report.files += 1
    if content and content.hash:
        _compare_hash(content.hash.hexdigest(), file, report, level)
    if content:
        _compare_size(content.size, file, report)
    return content


def _download(why: str, file: _File) -> str:
    return f"the image can't be downloaded: {why}" if file.used else f"{why}; no client requests this file"


def _compare_hash(digest: str, file: _File, report: Report, level: str) -> None:
    for names, item in file.items:
        if SHA256.fullmatch(item.sha256) and item.sha256 != digest:
            report.add(level, "hash", _place(*names), _download(f"the file's sha256 is {digest}", file))
            file.failed = True


def _compare_size(size: int, file: _File, report: Report) -> None:
    for names, item in file.items:
        if item.size == size:
            continue
        place = _place(*names)
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
                place = _place(image.product.name, image.version.name, image.kind)
                message = f"the image can't be downloaded: its files have the fingerprint {found}"
                report.add(ERROR, "combined", place, message, (client,))


def _check_strays(stream: Stream, paths: set[int], report: Report) -> None:
    if not isinstance(stream, LocalStream):
        return
    known = stream.tree.removed()
    strays = [path for path in stream.tree.content_files() if hash(path) not in paths and path not in known]
    if strays:
        message = (
            f"the catalog does not list {len(strays)} files, such as '{strays[0]}'; `prune` deletes them"
        )
        report.add(WARNING, "stray", f"'{IMAGES}'", message)


def _join_clients(report: Report) -> None:
    """Merge equal problems of several clients into one."""
    joined: dict[tuple[str, str, str, str], list[str]] = {}
    for each in report.problems:
        clients = joined.setdefault((each.level, each.code, each.place, each.message), [])
        clients += [client for client in each.clients if client not in clients]
    report.problems = [Problem(*key, tuple(clients)) for key, clients in joined.items()]


class LocalStream:
    """A tree on disk, read as a stream."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._root = os.path.realpath(tree.path)

    def file(self, path: str, /) -> IO[bytes]:
        return self.tree.file(path)

    def size(self, path: str, /) -> int | None:
        return self.tree.size(path)

    @contextmanager
    def pieces(self, path: str, /) -> Iterator[_LocalPieces]:
        with self.tree.open(path) as fd:
            linked = self.tree.locate(path) != os.path.join(self._root, clean_path(path))
            yield _LocalPieces(fd, linked=linked)


class _LocalPieces:
    """The content of an open file in pieces."""

    def __init__(self, fd: int, *, linked: bool) -> None:
        """Read the size and identity of the file. ``linked`` tells whether its path has a symlink."""
        found = os.fstat(fd)
        self._fd, self.size = fd, found.st_size
        #: equal for all names of a file, and None for a file with a single name
        self.key: tuple[int, ...] | None = None
        if linked or found.st_nlink > 1:
            self.key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = os.read(self._fd, _PIECE)
        if not piece:
            raise StopIteration
        return piece

    def holes(self, most: int) -> int:
        """Return the number of bytes in holes. Stop counting above ``most``."""
        holes = holes_of(self._fd, self.size, most)
        os.lseek(self._fd, 0, os.SEEK_SET)
        return holes
