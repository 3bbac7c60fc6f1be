"""A simplestreams catalog that the server generates for images of this machine, and their public files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..distribution.add_to_tree import Added, NewImage, insert, root_ftype
from ..distribution.catalog_decoder import INDEX_PATH, dump
from ..distribution.catalog_files import dump_products
from ..distribution.client_image_list import ROOT_KINDS
from ..distribution.tree import content_path
from ..distribution.tree_catalog import Catalog, clean_path
from ..image.file_extensions import extension
from ..image.open_file import reading
from ..model.architectures import KERNEL_NAMES
from ..model.errors import TemplaterError, reason
from ..model.instance import VIRTUAL_MACHINE
from ..model.metadata import Metadata
from ..model.source import printable
from ..parsing.magic_bytes import HEAD, recognise
from .encoded_list import Elements, EncodedList
from .image_listing import Listing
from .served_image import File, Served
from .served_tree import regular_file

#: a function that receives a message for the operator of the server
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image on this machine: its files, and its facts from metadata.yaml or from the store."""

    paths: tuple[str, ...]
    hashes: tuple[str, ...]
    fingerprint: str
    type: str
    facts: Metadata
    aliases: tuple[str, ...]
    uploaded: int = 0


@dataclass(slots=True)
class PublicFiles:
    """The public files by their path on the server.

    ``open`` does not open a file that was replaced after the listing.
    """

    paths: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)

    def add(self, path: str, sha256: str) -> File:
        with reading(path) as file:
            place = content_path(sha256, extension(recognise(file.read(HEAD))))
            status = os.fstat(file.fileno())
        self.paths[place] = (path, identity_of(status))
        return File(place, status.st_size, sha256)

    def open(self, path: str) -> int:
        place, identity = self.paths.get(clean_path(path), ("", ()))
        try:
            fd = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            raise FileNotFoundError(path) from None
        if identity_of(os.fstat(fd)) != identity:
            os.close(fd)
            raise FileNotFoundError(path)
        return regular_file(fd, path)


def identity_of(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def listing_of(images: Sequence[LocalImage], report: Report) -> tuple[Listing, PublicFiles]:
    """Return the listing and the files of the images. The listing contains a generated stream.

    Images with unreadable files are omitted. The stream also omits images that clients would misread.
    """
    files = PublicFiles()
    catalog = Catalog({"format": "index:1.0", "index": {}}, {})
    served = []
    for image in sorted(images, key=lambda image: image.facts.creation_date):
        try:
            own = tuple(map(files.add, image.paths, image.hashes))
        except (OSError, TemplaterError) as error:
            words = reason(error) if isinstance(error, OSError) else str(error)
            report(f"the image {image.fingerprint[:12]} is not served: {words}")
            continue
        facts = image.facts
        served.append(
            Served(
                image.fingerprint, image.type, KERNEL_NAMES.get(facts.architecture, facts.architecture),
                facts.creation_date, facts.expiry_date, image.uploaded or facts.creation_date,
                dict(facts.properties), own, image.aliases,
            )
        )  # fmt: skip
        why = _enter(catalog, image, own)
        if why:
            report(f"simplestreams clients don't see the image {image.fingerprint[:12]}: {why}")
    documents = {path: EncodedList(Elements(dump_products(value))) for path, value in catalog.files.items()}
    for path, value in catalog.files.items():
        catalog.index["index"]["images"] = {
            "datatype": "image-downloads", "format": "products:1.0", "path": path,
            "products": sorted(value["products"]),
        }  # fmt: skip
    documents[INDEX_PATH] = EncodedList(Elements([dump(catalog.index)]))
    served.reverse()  # the newest first
    return Listing(served, documents), files


def _enter(catalog: Catalog, image: LocalImage, files: Sequence[File]) -> str:
    """Enter an image into the catalog. If this fails, return the reason, else ""."""
    first, *roots = ({"path": file.path, "size": file.size, "sha256": file.sha256} for file in files)
    if image.type == VIRTUAL_MACHINE and not roots:
        return "clients of Incus 6.0 and LXD mistake a unified virtual machine image for a container"
    properties = image.facts.properties
    prefix = "requirements."
    new = NewImage(
        image.facts,
        first,
        requirements={
            name.removeprefix(prefix): value for name, value in properties.items() if name.startswith(prefix)
        },
    )
    for path, root in zip(image.paths[1:], roots, strict=True):
        kind = root_ftype(path)
        new.roots[kind], new.fingerprints[kind] = root, image.fingerprint
    missing = [name for name in ("os", "release") if not properties.get(name, "").strip()]
    if missing or image.facts.creation_date <= 0:
        return f"the image has no {missing[0] if missing else 'creation_date'}"
    before = {name: product["aliases"] for _, name, product in catalog.products()}
    try:
        added = insert(catalog, new, unified=not roots)
    except KeyError:
        return f"unknown architecture '{printable(image.facts.architecture)}'"
    except TemplaterError as error:
        return error.message
    _set_aliases(catalog, added, before.get(added.product, ""), image.aliases)
    return ""


def _set_aliases(catalog: Catalog, added: Added, before: str, aliases: Sequence[str]) -> None:
    """Give a product the aliases of all images in its newest version.

    The caller must add the newest version last. ``before`` has the product's aliases before the caller added
    this image.
    """
    products: dict[str, dict[str, Any]] = {name: product for _, name, product in catalog.products()}
    product = products[added.product]
    items = product["versions"][added.version]["items"]
    several = sum(name in ROOT_KINDS for name in items) > 1
    others = before.split(",") if several and before else []
    product["aliases"] = ",".join(dict.fromkeys((*others, *aliases)))
