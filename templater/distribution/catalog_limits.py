"""Limits on the catalogs that `templater serve` can serve, and upper bounds on the image lists of clients.

Commands that change a tree refuse larger catalogs, because `templater serve` would refuse the whole tree.
Computing upper bounds is five times as fast as listing the images.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from json.encoder import encode_basestring_ascii
from typing import IO, Any
from urllib.parse import quote

from ..model.errors import LimitError, TemplaterError
from .catalog_decoder import INDEX_PATH, MOST_VALUES, Decoded, Product, Version, count_values, decode_product
from .client_image_list import (
    MOST_IMAGES,
    MOST_TEXTS,
    ROOT_KINDS,
    Image,
    client_aliases,
    metadata_ftype,
    unified_ftype,
)
from .products_by_line import FINGERPRINT, MOST_PATH, VERSION_NAME, PlainProduct, dump_products
from .tree_catalog import Catalog, clean_path

#: Limit in bytes on the catalog of a served tree. It is lower than the limit for other commands, because the
#: server still has the old images in memory when it loads a changed catalog.
MOST_OF_CATALOG = 24 << 20
#: Limit in bytes on all lists of the image API and all generated files of a stream together. A server can
#: have two versions of them in memory: the current version, and a new version or one that slow clients read.
MOST_OF_LISTS = 64 << 20
_HINT = "`templater serve` cannot serve a larger catalog"
#: the clients whose images a server lists
LISTED_CLIENTS = ("incus-7", "lxd")
#: maximum bytes that an image, a requirement and an alias need in the lists, in addition to their texts
_IMAGE, _REQUIREMENT, _ALIAS = 577, 19, 207
#: bytes that an empty property saves: the lists omit three of the properties if they are empty
_OMITTED = 11
#: the ``ftype`` of the metadata of a split image, and of a unified image, for each client
_FIRSTS = tuple((metadata_ftype(client), unified_ftype(client)) for client in LISTED_CLIENTS)
_UNIFIED = frozenset(unified for _, unified in _FIRSTS)
#: upper bound on the bytes of an image's architecture, kind, type and size in a list
_SHORT_TEXTS = 100
#: maximum number of images that get the aliases of one product: a container and a virtual machine per client
_MOST_WITH_ALIASES = 2 * len(LISTED_CLIENTS)


def check_catalog_size(size: int) -> None:
    if size > MOST_OF_CATALOG:
        raise LimitError(f"the catalog has more than {MOST_OF_CATALOG >> 20} MiB", hint=_HINT)


def add_catalog_file(size: int, file: IO[bytes]) -> int:
    """Add the size of ``file`` to a catalog's ``size``, and return the sum.

    Raises LimitError, and closes the file, if the catalog is too large.
    """
    size += os.fstat(file.fileno()).st_size
    try:
        check_catalog_size(size)
    except LimitError:
        file.close()
        raise
    return size


class ServedSize:
    """An upper bound on the size of a server's lists of images."""

    def __init__(self) -> None:
        self.bytes = 0
        #: Python's hash() of each fingerprint: if several images share one, a server lists only the first
        self._seen: set[int] = set()

    def add(self, images: Iterable[Image], client: str) -> None:
        """Add the sizes of the images that ``client`` lists, if ``client`` is in ``LISTED_CLIENTS``."""
        for image in images if client in LISTED_CLIENTS else ():
            key = hash(image.fingerprint)
            if key not in self._seen:
                self._seen.add(key)
                self.bytes += _size(image)

    def check(self) -> None:
        if self.bytes > MOST_OF_LISTS:
            message = f"the image lists for clients have more than {MOST_OF_LISTS >> 20} MiB"
            raise LimitError(message, hint=_HINT)


def _size(image: Image) -> int:
    product, version = image.product, image.version
    # The description repeats these texts.
    twice = (product.os, product.arch, product.variant, version.label, version.name)
    once = (
        product.release, product.release_title, product.version, *product.requirements,
        *product.requirements.values(), clean_path(image.metadata.path).rpartition("/")[2],
        image.kind, image.type, image.architecture, str(image.size),
    )  # fmt: skip
    fingerprint = json_length(image.fingerprint)
    size = image_size(
        2 * json_length("".join(twice)), json_length("".join(once)), fingerprint, len(product.requirements)
    )
    size -= _OMITTED * (product.version, product.variant, version.label).count("")
    for name in image.aliases:
        address = quote(name, safe="", errors="surrogatepass")
        size += alias_size(name, len(address), fingerprint, image.type)
    return size


def image_size(twice: int, once: int, fingerprint: int, requirements: int) -> int:
    """Return how many bytes one image needs in all image lists of a server.

    * ``twice``: size of the texts that occur twice in a list, both copies together
    * ``once``: size of the other texts
    * ``fingerprint``: size of one copy of the fingerprint
    """
    return _IMAGE + twice + once + 2 * fingerprint + _REQUIREMENT * requirements


def alias_size(name: str, address: int, fingerprint: int, type: str) -> int:
    """Return how many bytes one alias needs in all image lists of a server.

    The numbers ``address`` and ``fingerprint`` are sizes in bytes.
    """
    # An alias occurs in the data of its image, in the list of alias addresses, and in the list of alias data.
    return _ALIAS + 2 * json_length(name) + address + fingerprint + len(type)


def json_length(text: str) -> int:
    """Return the number of characters of a text in JSON, with its quotes."""
    return len(encode_basestring_ascii(text))


class UpperBounds:
    """Upper bounds that are computed from the products of a catalog.

    * ``images``: number of images in the catalog that one client lists or ignores
    * ``texts``: total length of these images' texts in JSON
    * ``lists``: size of a server's image lists in bytes
    * ``is_known``: False if a product was refused, for example because it exceeds a limit
    """

    def __init__(self) -> None:
        self.images = self.texts = self.lists = 0
        self.is_known = True
        self._decoded = Decoded()

    def add(self, name: str, raw: Any) -> None:
        """Add the images and texts of a product to the bounds.

        ``raw`` is the product's JSON value or a ``PlainProduct``. If the product changes, call this method
        again.
        """
        try:
            if isinstance(raw, PlainProduct):
                self._decoded.count_aliases(raw.aliases)
                self._add_plain(raw)
            else:
                self._add(decode_product(name, raw, self._decoded))
        except TemplaterError:
            self.is_known = False

    def _add(self, product: Product) -> None:
        texts = json_length(
            "".join((
                product.name, product.os, product.arch, product.release, product.version, product.variant,
                product.release_title, *product.requirements, *product.requirements.values(),
            ))
        )  # fmt: skip
        requirements = len(product.requirements)
        images = named = longest = 0
        for version in product.versions.values():
            number, path, fingerprints = _images(version)
            images += max(1, number)
            name = json_length(version.name + version.label)
            once = texts + name + path + _SHORT_TEXTS
            for fingerprint in map(json_length, fingerprints):
                self.lists += image_size(2 * (texts + name), once, fingerprint, requirements)
                longest = max(longest, fingerprint)
                named += 1
        self._add_total(product, images, texts, named, longest)

    def _add_plain(self, product: PlainProduct) -> None:
        twice, once = product.texts + VERSION_NAME + 2, MOST_PATH + _SHORT_TEXTS
        size = image_size(2 * twice, twice + once, FINGERPRINT + 2, 0)
        self.lists += product.fingerprints * size
        self._add_total(product, product.images, product.texts, product.fingerprints, FINGERPRINT + 2)

    def _add_total(
        self, product: Product | PlainProduct, images: int, texts: int, named: int, longest: int
    ) -> None:
        self.images += max(1, images)
        self.texts += max(1, images) * texts
        names = client_aliases(product)
        text = "".join(names)  # the sizes of all aliases together
        aliases = len(names) * alias_size("", 0, longest, "virtual-machine")
        aliases += 2 * json_length(text) + 3 * len(text.encode("utf-8", "surrogatepass"))
        self.lists += min(named, _MOST_WITH_ALIASES) * aliases

    def are_within_limits(self, catalog: Catalog) -> bool:
        """Add the possibly changed products to the bounds. Return whether all bounds are within the limits.

        If not, the exact numbers can still be within the limits.
        """
        size, values = catalog.size.bytes, catalog.size.values
        is_wide = catalog.size.is_wide
        lines = list(catalog.lines(INDEX_PATH))
        for document in catalog.loaded_products():
            for name, product in document["products"].items():
                self.add(name, product)
            lines += dump_products(document)
        for line in lines:
            size += len(line)
            values += count_values(line)
            is_wide |= b"\\ud" in line
        return (
            self.is_known
            and not is_wide  # a character above U+FFFF lowers the limit on the size
            and size <= MOST_OF_CATALOG
            and values <= MOST_VALUES
            and self.images <= MOST_IMAGES
            and self.texts <= MOST_TEXTS
            and self.lists <= MOST_OF_LISTS
        )


def _images(version: Version) -> tuple[int, int, set[str]]:
    """Return three facts about the images of a version.

    * an upper bound on the number of images that one client lists or ignores
    * the maximum length in JSON of a metadata file's path
    * all texts that a client can use as a fingerprint
    """
    kinds = []
    paths, fingerprints = set(), set[str]()
    for item in version.items.values():
        kinds.append(item.ftype)
        if item.ftype not in ROOT_KINDS:
            paths.add(item.path)
            fingerprints.update(item.combined.values())
            if item.ftype in _UNIFIED:
                fingerprints.add(item.sha256)
    roots = sum(kind in ROOT_KINDS for kind in kinds)
    most = max(kinds.count(metadata) * roots + kinds.count(unified) for metadata, unified in _FIRSTS)
    return most, max(map(json_length, paths), default=0), fingerprints
