"""Limits on the catalogs that `templater serve` can serve.

Commands that change a tree refuse catalogs above these limits. Otherwise, `streams reindex` could add so many
images of another server that `templater serve` refuses the whole tree.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from json.encoder import encode_basestring_ascii
from typing import IO
from urllib.parse import quote

from ..model.errors import LimitError
from .client_image_list import Image
from .tree_catalog import clean_path

#: limit in bytes on the catalog of a served tree, which is loaded again while the server has the old images
MOST_OF_CATALOG = 24 << 20
#: Limit in bytes on all lists of the image API and all generated files of a stream together. A server keeps
#: two versions of them: the current one, and a new one or one that slow clients still read.
MOST_OF_LISTS = 64 << 20
_HINT = "`templater serve` cannot serve a larger catalog"
#: the clients whose images a server lists
LISTED_CLIENTS = ("incus-7", "lxd")
#: the most bytes that each image, requirement and alias needs in the lists, in addition to its texts
_IMAGE, _REQUIREMENT, _ALIAS = 577, 19, 207
#: bytes that an image needs less for each of three properties that the lists omit if it is empty
_OMITTED = 11


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
        #: Python's hash() of each fingerprint: a server lists only the first image with a fingerprint
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
    """Return the bytes that one image needs in all lists together.

    ``twice`` and ``once`` are the sizes of the texts that occur twice and once in the lists. ``fingerprint``
    is the size of the fingerprint, and ``requirements`` the number of requirements.
    """
    return _IMAGE + twice + once + 2 * fingerprint + _REQUIREMENT * requirements


def alias_size(name: str, address: int, fingerprint: int, type: str) -> int:
    """Return the bytes of one alias in its image's data, and in the lists of alias addresses and alias data.

    ``address`` and ``fingerprint`` are sizes in bytes.
    """
    return _ALIAS + 2 * json_length(name) + address + fingerprint + len(type)


def json_length(text: str) -> int:
    """Return the number of characters of a text in JSON, with its quotes."""
    return len(encode_basestring_ascii(text))
