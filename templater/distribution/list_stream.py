"""The list of a stream's images, for tables, JSON and the web page."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from ..model.errors import InputError
from ..model.unprintable_characters import printable, whole_characters
from .catalog_decoder import CLIENTS, DOWNLOADS, INDEX_PATH, Decoded, Product, decode_index
from .catalog_limits import ServedSize, UpperBounds, add_catalog_file
from .client_image_list import list_images
from .products_by_line import CatalogFiles, cache_problem
from .stream_interface import Stream
from .tree import Tree
from .tree_catalog import Catalog, clean_path
from .verify_report import shown


@dataclass(frozen=True, slots=True)
class Listed:
    """One image. ``clients`` has the names of the clients that list the image.

    Clients list some images in a random order. ``random_aliases`` has the aliases that this image gets only
    in some of the orders.
    """

    product: str
    version: str
    type: str
    kind: str
    architecture: str
    fingerprint: str
    size: int
    os: str
    release: str
    variant: str
    aliases: tuple[str, ...]
    clients: tuple[str, ...]
    random_aliases: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        return {
            "product": whole_characters(self.product),
            "version": whole_characters(self.version),
            "type": self.type,
            "root": self.kind,
            "architecture": self.architecture,
            "fingerprint": whole_characters(self.fingerprint),
            "size": self.size,
            "os": whole_characters(self.os),
            "release": whole_characters(self.release),
            "variant": whole_characters(self.variant),
            "aliases": [whole_characters(alias) for alias in self.aliases],
            "clients": list(self.clients),
            "random_aliases": [whole_characters(alias) for alias in self.random_aliases],
        }

    def shown_aliases(self) -> list[str]:
        """Return the aliases as texts for users."""
        return [
            f"{printable(alias)} (random)" if alias in self.random_aliases else printable(alias)
            for alias in self.aliases
        ]


def read_products(stream: Stream | _Unsaved) -> list[Product]:
    """Return every product that clients read.

    Raises InputError in these cases:

    * An invalid path or a value of a wrong type prevents all clients from listing images.
    * Two files have the same base name, so clients confuse the two files.
    """
    decoded = Decoded()
    products: dict[str, list[Product]] = {}
    basenames: dict[str, str] = {}
    with CatalogFiles(stream.file) as files:
        path = INDEX_PATH
        try:
            for entry in decode_index(files.index(), decoded):
                if entry.datatype != DOWNLOADS or not entry.products:
                    continue
                path = clean_path(entry.path)
                if not path:
                    raise InputError(
                        f"clients list nothing from this stream: the index entry '{shown(entry.name)}'"
                        " has no valid path"
                    )
                # the index itself is the file that clients have in their cache
                if path != INDEX_PATH and (problem := cache_problem(path, basenames)):
                    raise InputError(problem, hint="the publisher must rename one of these files")
                if path not in products:
                    products[path] = list(files.products(path, decoded).read(decoded))
        except FileNotFoundError:
            raise InputError(f"'{path}' is missing: this is not a simplestreams tree") from None
    for mismatch in decoded.mismatches:
        if mismatch.clients == CLIENTS:
            raise InputError(
                f"clients list nothing from this stream, because of {mismatch.place}: {mismatch.message}",
                hint="`templater streams verify` lists all values of a wrong type",
            )
    return [product for each in products.values() for product in each]


def refuse_unreadable(tree: Tree, catalog: Catalog, bounds: UpperBounds | None = None) -> None:
    """Raise LimitError if a tree's changed catalog exceeds a limit on reading or serving catalogs.

    Updates ``bounds``, which are upper bounds on the catalog before the change.
    """
    # This check is fast, but the listing of all images is slow.
    if bounds is not None and bounds.are_within_limits(catalog):
        return
    served = ServedSize()
    with suppress(InputError):  # values of wrong types were in the tree before
        products = read_products(_Unsaved(tree, catalog))
        for client in CLIENTS:
            served.add(list_images(products, client)[0], client)
    served.check()


class _Unsaved:
    """A stream with the unsaved files of a changed catalog, and with the tree's other files."""

    def __init__(self, tree: Tree, catalog: Catalog) -> None:
        self._tree, self._catalog = tree, catalog
        self._bytes = 0

    def file(self, path: str, /) -> IO[bytes]:
        file = self._open(path)
        self._bytes = add_catalog_file(self._bytes, file)
        return file

    def _open(self, path: str) -> IO[bytes]:
        if path != INDEX_PATH and path not in self._catalog.files:
            return self._tree.file(path)
        from tempfile import TemporaryFile  # nearly no change needs the file, and the import takes long

        file = TemporaryFile()  # noqa: SIM115  # the reader closes it
        file.writelines(self._catalog.lines(path))
        file.seek(0)
        return file


def list_stream(stream: Stream) -> list[Listed]:
    """Return every image in the order in which clients list the images.

    Each image has only the aliases by which a client finds this image.
    """
    products = read_products(stream)
    found: dict[tuple[str, str, str, str], Listed] = {}
    for client in CLIENTS:
        for image in list_images(products, client)[0]:
            product = image.product
            key = (product.name, image.version.name, image.kind, image.fingerprint)
            before = found.get(key)
            own = set(image.aliases)
            names = tuple(name for name in product.aliases.split(",") if name in own) if own else ()
            found[key] = Listed(
                product.name, image.version.name, image.type, image.kind, image.architecture,
                image.fingerprint, image.size, product.os, product.release, product.variant, names,
                (*(before.clients if before else ()), client),
                tuple(name for name in names if name in image.random),
            )  # fmt: skip
    return list(found.values())
