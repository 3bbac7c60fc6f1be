"""The catalog of a simplestreams tree on disk, as JSON objects that commands change before they are saved."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..model.unprintable_characters import is_whole
from .catalog_decoder import (
    COMBINED,
    DOWNLOADS,
    IMAGES_PATH,
    INDEX_PATH,
    CatalogSize,
    dump,
)
from .products_by_line import ProductLines, dump_products


@dataclass(slots=True)
class Catalog:
    """The index and its products files, as JSON objects. Unknown keys are kept."""

    index: dict[str, Any]
    #: the products files by path, without files that clients skip
    files: dict[str, dict[str, Any]]
    changed: set[str] = field(default_factory=set)
    #: the size of the files when they were read
    size: CatalogSize = field(default_factory=CatalogSize)

    def products(
        self, containing: Collection[str] | None = None
    ) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield a tuple for each product: the path of the products file, the product's name, and the product.

        If the ASCII texts ``containing`` are given, products without any of these texts can be missing.
        """
        for path, document in self.files.items():
            products = document.get("products")
            if isinstance(products, ProductLines) and containing is not None:
                products = {name: products[name] for name in products.containing(containing)}
            for name, product in objects(products):
                yield path, name, product

    def versions(
        self, containing: Collection[str] | None = None
    ) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
        for path, name, product in self.products(containing):
            for version, value in objects(product.get("versions")):
                yield path, name, version, value

    def lines(self, path: str) -> Iterator[bytes]:
        """Yield the lines of the index or of a products file."""
        if path != INDEX_PATH:
            yield from dump_products(self.files[path])
            return
        entries = {clean_path(entry.get("path")): entry for _, entry in objects(self.index["index"])}
        for changed in self.changed:
            if changed not in entries:
                name = posixpath.basename(changed).removesuffix(".json")
                entries[changed] = self.index["index"][name] = {
                    "datatype": DOWNLOADS, "format": "products:1.0", "path": changed,
                }  # fmt: skip
            entries[changed]["products"] = sorted(self.files[changed]["products"])
        yield dump(self.index)

    def own_products(self) -> Mapping[str, dict[str, Any]]:
        """Return the products in ``IMAGES_PATH``. Other products files have products of other servers."""
        found: Mapping[str, dict[str, Any]] = self.files.get(IMAGES_PATH, {}).get("products") or {}
        return found

    def named(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        """Return ``(path, product)`` for each products file that has this product, ``IMAGES_PATH`` first."""
        paths = sorted(self.files, key=lambda path: path != IMAGES_PATH)
        each = [(path, self.files[path].get("products") or {}) for path in paths]
        return [(path, products[name]) for path, products in each if name in products]

    def read(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield the same values as ``products``. The caller must not change a product."""
        for path, document in self.files.items():
            products = document.get("products") or {}
            each = products.read() if isinstance(products, ProductLines) else list(products.items())
            yield from ((path, name, product) for name, product in each)

    def loaded_products(self) -> Iterator[dict[str, Any]]:
        """Yield the content of each products file, without the products that are certainly unchanged."""
        for document in self.files.values():
            products = document.get("products") or {}
            loaded = products.loaded() if isinstance(products, ProductLines) else products
            yield {**document, "products": loaded}

    def items(self) -> Iterator[dict[str, Any]]:
        """Yield every item. The caller must not change the items."""
        for _, _, product in self.read():
            for _, version in objects(product.get("versions")):
                for _, item in objects(version.get("items")):
                    yield item

    def paths(self) -> set[str]:
        """Return the cleaned paths of all items. Skip invalid paths."""
        cleaned = (clean_path(item.get("path")) for item in self.items())
        return {path for path in cleaned if path}


def objects(value: Any) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(value, Mapping):
        return []
    return [(name, each) for name, each in value.items() if isinstance(each, dict)]


def new_index() -> dict[str, Any]:
    return {"format": "index:1.0", "index": {}}


def products_file(catalog: Catalog) -> dict[str, Any]:
    """Return the content of the products file ``IMAGES_PATH``, and mark this file as changed.

    If the file is missing, create it in the catalog.
    """
    catalog.changed.add(IMAGES_PATH)
    document = catalog.files.get(IMAGES_PATH)
    if document is None:
        document = catalog.files[IMAGES_PATH] = {
            "content_id": "images", "datatype": DOWNLOADS, "format": "products:1.0", "products": {},
        }  # fmt: skip
    return document


def clean_path(path: Any) -> str:
    """Return a path of a catalog as clients resolve it.

    Return "" if the path is invalid or leads out of the tree.
    """
    if not isinstance(path, str) or not path or "\0" in path or not is_whole(path):
        return ""
    cleaned = posixpath.normpath(path.lstrip("/"))
    return "" if cleaned in (".", "..") or cleaned.startswith("../") else cleaned


def fingerprints_of(item: Any) -> set[str]:
    """Return the image fingerprints that an item of a catalog contains."""
    if not isinstance(item, dict):
        return set()
    found = {item[key] for key in COMBINED if isinstance(item.get(key), str)}
    if str(item.get("ftype", "")).endswith("_combined.tar.gz") and isinstance(item.get("sha256"), str):
        found.add(item["sha256"])
    return found


def complete_variants(catalog: Catalog, warnings: list[str]) -> None:
    """Set the variant ``default`` on every product without a variant.

    If only some products have a variant, clients give aliases to random versions.
    """
    missing = [
        (path, product) for path, _, product in catalog.products(containing=()) if not product.get("variant")
    ]
    for path, product in missing:
        product["variant"] = "default"
        catalog.changed.add(path)
    if missing:
        warnings.append(f"added the variant 'default' to {len(missing)} products without a variant")
