"""A check that finds the entries of a stream that clients drop, misread or fail on."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import TypeVar

from ..model.architectures import kernel_name
from ..model.errors import InputError, LimitError
from ..model.progress import Progress, silent
from ..model.unprintable_characters import printable
from .catalog_decoder import (
    CLIENTS,
    DOWNLOADS,
    INDEX_PATH,
    CombinedError,
    Decoded,
    IndexEntry,
    Product,
    Version,
    decode_index,
)
from .catalog_limits import ServedSize, check_catalog_size
from .client_image_list import (
    MOST_IMAGES,
    ROOT_KINDS,
    UNIFIED,
    Image,
    Unsorted,
    day,
    family,
    list_images,
    metadata_ftype,
    unsorted_part,
)
from .https_client import RedirectError
from .products_by_line import CatalogFiles, ProductsFile, cache_problem
from .stream_interface import Stream
from .tree_catalog import clean_path
from .verify_files import SHA256, ContentReader, check_files, check_strays
from .verify_report import ERROR, WARNING, Problem, Report, join_clients, place_of, shown

#: `incus image list` cuts fingerprints to 12 characters, and panics at shorter ones
_SHOWN_FINGERPRINT = 12


_T = TypeVar("_T")


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
    stream.imitate_clients()
    repeated: list[tuple[str, str]] = []
    with CatalogFiles(stream.file, repeated) as files:
        products = _read_catalog(files, report)
        for name, key in dict.fromkeys(repeated):
            message = f"the key '{key}' occurs twice in an object; clients use the last value"
            report.add(WARNING, "repeated-key", f"'{printable(name)}'", message)
        if products is None:
            report.images = dict.fromkeys(clients)
        else:
            verifier = _Verifier(stream, clients, report, metadata_only, progress)
            verifier.check(products)
            _check_serve_limits(files, verifier.served, report)
    join_clients(report)
    return report


class _Verifier:
    """The check of all products. It reads one product at a time, to save memory.

    It compares two products only if they share a file, a fingerprint or an alias.
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
        self.served = ServedSize()
        self._report = report
        self._metadata_only = metadata_only
        #: for each client, the number of entries that the client lists or drops
        self._entries = dict.fromkeys(report.images, 0)
        #: Python's hash() of the path of each item
        self._paths: set[int] = set()
        self._reader = ContentReader(stream, report, progress)
        #: the hashes of the parts of the stream that clients list in a random order
        self._unsorted: set[int] = set()

    def check(self, products: Products) -> None:
        shared, self._unsorted = products.shared()
        unsorted: dict[tuple[str, ...], dict[bool, str]] = {}
        together: list[Product] = []
        for product in products:
            _check_product(product, self._report)
            part = unsorted_part(product, self._unsorted)
            if part is not None:
                value = (product.os, product.release, product.variant)[len(part)]
                unsorted.setdefault(part, {})[bool(value)] = product.name
            # Two products that share no file, fingerprint or alias can't conflict.
            if shared.isdisjoint(tie_hashes(product)):
                self._check_images([product])
            else:
                together.append(product)
        self._check_images(together)
        _check_order(unsorted, self._report)
        check_strays(self._reader.stream, self._paths, self._report)

    def _check_images(self, products: list[Product]) -> None:
        report, found = self._report, dict[str, list[Image]]()
        for client, number in report.images.items():
            if number is None:
                continue
            images, dropped = list_images(products, client, self._unsorted)
            report.images[client] = number + len(images)
            self.served.add(images, client)
            self._entries[client] += len(images) + len(dropped)
            if self._entries[client] > MOST_IMAGES:
                raise LimitError(f"the stream has more than {MOST_IMAGES} images")
            found[client] = images
            for each in dropped:
                place = place_of(each.product, each.version)
                report.add(ERROR, each.code, place, f"not listed: {shown(each.reason)}", (client,))
            _check_images(images, client, report)
        files = check_files(self._reader, products, found, report, self._metadata_only)
        self._paths.update(map(hash, files))


def _check_serve_limits(files: CatalogFiles, served: ServedSize, report: Report) -> None:
    try:
        check_catalog_size(files.bytes)
        served.check()
    except LimitError as error:
        message = f"`templater serve` may refuse this tree: {error.message}"
        report.add(WARNING, "serve-limit", f"'{INDEX_PATH}'", message)


#: after one of these problems, a client lists no images, or templater can't predict its list
_FATAL = {"index", "products", "type", "combined-keys"}
#: datatypes of index entries that are not meant for Incus and LXD; any other datatype is a mistake
_OTHER_DATATYPES = {"image-ids", "content-download"}


class Products:
    """An iterable of every product that clients read. Each iteration reads the products files again."""

    def __init__(self, files: list[ProductsFile], decoded: Decoded) -> None:
        self._files = files
        self._ties = array("q")
        self._unsorted = Unsorted()
        for product in self._read(decoded):
            self._ties.extend(tie_hashes(product))
            self._unsorted.add(product)

    def __iter__(self) -> Iterator[Product]:
        return self._read(Decoded())

    def _read(self, decoded: Decoded) -> Iterator[Product]:
        return (product for file in self._files for product in file.read(decoded))

    def shared(self) -> tuple[set[int], set[int]]:
        """Return two sets of hashes.

        * hashes from ``tie_hashes`` that several products share
        * hashes of the parts of the stream that clients list in a random order
        """
        ties = sorted(self._ties)
        return {one for one, other in pairwise(ties) if one == other}, self._unsorted.hashes()


def tie_hashes(product: Product) -> set[int]:
    """Return a hash for each file, fingerprint and alias of a product.

    The check compares products that share a hash.
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
    # After a hash collision, the check also compares unrelated products, which does no harm.
    return set(map(hash, ties))


def _read_catalog(files: CatalogFiles, report: Report) -> Products | None:
    """Return every product that clients read, or None if no client can use the stream."""
    decoded = Decoded()
    raw = _read(files.index, INDEX_PATH, "index", report)
    if raw is None:
        return None
    entries = decode_index(raw, decoded)
    uses = Counter(clean_path(entry.path) for entry in entries)
    level = WARNING if any(entry.datatype == DOWNLOADS for entry in entries) else ERROR
    found: list[ProductsFile] = []
    basenames: dict[str, str] = {}
    for entry in entries:
        if entry.datatype != DOWNLOADS:
            message = f"clients skip this entry: its datatype is '{shown(entry.datatype)}'"
            known = entry.datatype in _OTHER_DATATYPES
            report.add(level if known else ERROR, "datatype", f"index entry '{shown(entry.name)}'", message)
            continue
        opened = _open_entry(files, entry, basenames, uses, decoded, report)
        # Two copies of a file are enough to find images that are listed more than once.
        if opened is not None and found.count(opened) < 2:
            found.append(opened)
    products = Products(found, decoded)
    for mismatch in decoded.mismatches:
        message = f"the client lists no images at all: {mismatch.message}"
        report.add(ERROR, "type", mismatch.place, message, mismatch.clients)
    for place in decoded.odd_keys:
        report.add(WARNING, "key-case", place, "this key is not in lower case; clients accept it")
    return products


def _read(read: Callable[[], _T], path: str, code: str, report: Report) -> _T | None:
    try:
        return read()
    except FileNotFoundError:
        report.add(
            ERROR, code, f"'{printable(path)}'", "the client lists no images at all: the file is missing"
        )
    except LimitError:
        raise
    except RedirectError as error:
        raise error.replace(
            hint="clients follow this redirect, but templater does not, so it can't check the stream"
        ) from None
    except CombinedError as error:
        message = f"{error.message}: the client combines both values"
        report.add(ERROR, "combined-keys", f"'{printable(path)}'", message)
    except InputError as error:
        report.add(ERROR, code, f"'{printable(path)}'", f"the client lists no images at all: {error.message}")
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
    path = clean_path(entry.path)
    # If two entries name one file, clients list its image twice. Do not compare the image with itself.
    whole = uses[path] > 1
    if not entry.products:
        if not path or _has_products(files, path, whole):
            message = "every client skips this entry: its list of products is empty"
            report.add(ERROR, "empty-products", place, message)
        return None
    if not path:
        report.add(ERROR, "index", place, "the client lists no images at all: the entry has no valid path")
        return None
    if problem := cache_problem(path, basenames):
        report.add(ERROR, "cache-name", place, problem)
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
    place = place_of(product.name)
    for alias in product.aliases.split(",") if product.aliases else ():
        if not alias or alias != "".join(alias.split()):
            message = f"the alias '{shown(alias)}' contains spaces, which clients keep"
            report.add(ERROR, "alias-blank", place, message if alias else "an alias is empty")
    if product.support_eol and day(product.support_eol, "%Y-%m-%d") is None:
        message = f"no expiry date: support_eol '{shown(product.support_eol)}' is not YYYY-MM-DD"
        report.add(WARNING, "support-eol", place, message)
    _check_deltas(product, report)
    lengths = {len(name) for name in product.versions}
    if len(lengths) > 1:
        message = "version names have different lengths, but clients sort them as strings"
        report.add(WARNING, "version-format", place, message)


def _check_deltas(product: Product, report: Report) -> None:
    for version in product.versions.values():
        for key, item in version.items.items():
            kind, _, suffix = item.ftype.rpartition(".")
            if suffix != "vcdiff" or kind not in _WITH_DELTAS:
                continue
            place = place_of(product.name, version.name, key)
            base = product.versions.get(item.delta_base)
            if base is None:
                message = f"no client applies this delta: unknown version '{shown(item.delta_base)}'"
                report.add(WARNING, "delta", place, message)
                continue
            for client in CLIENTS:
                if why := _unused_delta(base, kind, client):
                    report.add(
                        WARNING, "delta", place, f"the client never applies this delta: {why}", (client,)
                    )


#: kinds of root filesystems for which clients can download deltas
_WITH_DELTAS = ("squashfs", "disk-kvm.img")


def _unused_delta(base: Version, kind: str, client: str) -> str:
    """Return why a client never uses a delta from the version ``base``, or an empty text."""
    if kind != "squashfs" and family(client) == "incus":
        return "Incus has a bug with deltas of virtual machines"
    (key,), wanted = ROOT_KINDS[kind].combined, metadata_ftype(client)
    if any(item.ftype == wanted and item.combined.get(key) for item in base.items.values()):
        return ""
    return f"version '{shown(base.name)}' has no file of type '{wanted}' with the key '{key}'"


def _check_order(unsorted: Mapping[tuple[str, ...], Mapping[bool, str]], report: Report) -> None:
    for part, seen in unsorted.items():
        if len(seen) > 1:
            names = zip(("os", "release"), part, strict=False)
            place = ", ".join(f"{name} '{shown(value)}'" for name, value in names) or f"'{INDEX_PATH}'"
            code, article = (("os", "an"), ("release", "a"), ("variant", "a"))[len(part)]
            message = (
                f"'{shown(seen[True])}' has {article} {code} and '{shown(seen[False])}' has none:"
                " an alias can select a random version"
            )
            report.add(ERROR, code, place, message)


# images


def _check_images(images: list[Image], client: str, report: Report) -> None:
    fingerprints: dict[str, Image] = {}
    owners: dict[tuple[str, str, str], Image] = {}
    seen: set[tuple[int, str, str]] = set()
    for image in images:
        place = place_of(image.product.name, image.version.name)
        for problem in image_problems(image, client):
            report.add(problem.level, problem.code, place, problem.message, (client,))
        first = fingerprints.setdefault(image.fingerprint, image)
        if first is not image:
            for one, other in ((first, image), (image, first)):
                message = f"the image can't be downloaded: {_name(other)} has the same fingerprint"
                place = place_of(one.product.name, one.version.name)
                report.add(ERROR, "twice", place, message, (client,))
        kind = (id(image.product), image.type, image.architecture)
        if kind in seen:  # the other versions of a product have the same aliases
            continue
        seen.add(kind)
        for name in image.product.aliases.split(",") if image.product.aliases else ():
            owner = owners.setdefault((image.type, image.architecture, name), image)
            if name in owner.random:
                message = f"the alias '{shown(name)}' selects a random one of several images"
                report.add(ERROR, "alias-random", place_of(image.product.name), message, (client,))
            elif owner.product is not image.product:
                selected = shown(owner.product.name)
                message = f"the alias '{shown(name)}' selects another product: '{selected}'"
                report.add(WARNING, "alias-taken", place_of(image.product.name), message, (client,))


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
