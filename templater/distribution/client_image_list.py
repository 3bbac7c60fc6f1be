"""A prediction of the images that a client lists from a catalog, and of the entries that the client drops.

The rules come from shared/simplestreams/{products,simplestreams,sort}.go in Incus and LXD.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from ..model.architectures import kernel_name
from ..model.errors import LimitError
from ..model.unprintable_characters import printable
from .catalog_decoder import Item, Product, Version
from .products_by_line import PlainProduct

Type = Literal["container", "virtual-machine"]


@dataclass(frozen=True, slots=True)
class RootKind:
    """The properties of a root filesystem's ``ftype``.

    * ``combined``: the keys of a metadata item that have the image's fingerprint, best first
    * ``rank``: a number; among the images of one version and type, the image with the lowest rank gets the
      aliases
    """

    type: Type
    combined: tuple[str, ...]
    rank: int


ROOT_KINDS: Mapping[str, RootKind] = {
    "squashfs": RootKind("container", ("combined_squashfs_sha256",), 0),
    "root.tar.xz": RootKind("container", ("combined_rootxz_sha256", "combined_sha256"), 1),
    "disk-kvm.img": RootKind("virtual-machine", ("combined_disk-kvm-img_sha256",), 2),
    "uefi1.img": RootKind("virtual-machine", ("combined_uefi1-img_sha256",), 3),
    "disk1.img": RootKind("virtual-machine", ("combined_disk1-img_sha256",), 4),
}
UNIFIED = "tar.gz"

#: Limits on the images that one client sees in a stream and in one version.
#: Clients combine every metadata item with every root filesystem.
MOST_IMAGES = 50_000
MOST_OF_A_VERSION = 1000
#: Limit on the texts of products, in bytes of JSON. The texts of a product count once for each of its images.
#: An emoji has 12 bytes in JSON. A server lists the texts twice for Incus, and twice for LXD.
MOST_TEXTS = 16 << 20


def metadata_ftype(client: str) -> str:
    return f"{family(client)}.tar.xz"


def unified_ftype(client: str) -> str:
    return f"{family(client)}_combined.tar.gz"


def family(client: str) -> str:
    return client.partition("-")[0]


@dataclass(slots=True)
class Image:
    """One image as a client lists it. ``root`` is None for a unified image.

    Clients list some images in a random order. ``random`` has the aliases that this image gets only in some
    orders.
    """

    product: Product
    version: Version
    kind: str
    type: Type
    architecture: str
    fingerprint: str
    metadata: Item
    root: Item | None
    created: date
    aliases: list[str] = field(default_factory=list)
    random: set[str] = field(default_factory=set)

    @property
    def size(self) -> int:
        return self.metadata.size + (self.root.size if self.root is not None else 0)

    @property
    def files(self) -> tuple[Item, ...]:
        return (self.metadata,) if self.root is None else (self.metadata, self.root)

    @property
    def expires(self) -> date | None:
        return day(self.product.support_eol, "%Y-%m-%d")


@dataclass(frozen=True, slots=True)
class Dropped:
    """A product, version or image that the client leaves out; ``code`` names the cause."""

    product: str
    version: str
    code: str
    reason: str


def day(text: str, layout: Literal["%Y-%m-%d", "%Y%m%d"]) -> date | None:
    """Parse a date as strictly as Go does: with leading zeros, and only ASCII digits.

    Return None for an invalid date.
    """
    digits = text.replace("-", "") if layout == "%Y-%m-%d" else text
    if layout == "%Y-%m-%d" and (len(text) != 10 or text[4] != "-" or text[7] != "-"):
        return None
    if len(digits) != 8 or not (digits.isascii() and digits.isdigit()):
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


class Unsorted:
    """The parts of a stream that clients list in a random order.

    Clients sort a stream by os, each os by release, and each release by variant. The order of a part is
    random if only some of its products have the sorting property.
    """

    def __init__(self) -> None:
        #: hashes of parts: first the parts with a product that lacks the property, then the parts with a
        #: product that has it
        self._seen: tuple[set[int], set[int]] = set(), set()

    def add(self, product: Product) -> None:
        for part, value in _parts(product):
            self._seen[bool(value)].add(hash(part))

    def hashes(self) -> set[int]:
        """Return the hashes of the parts that clients list in a random order."""
        return self._seen[0] & self._seen[1]


def _parts(product: Product) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each part of the stream that contains a product, the largest part first.

    The second value is the product's os, release or variant, by which clients sort the part.
    """
    names = (product.os, product.release, product.variant)
    return ((names[:number], value) for number, value in enumerate(names))


def unsorted_part(product: Product, unsorted: set[int]) -> tuple[str, ...] | None:
    """Return the largest part that contains the product and whose hash is in ``unsorted``, or None."""
    return next((part for part, _ in _parts(product) if hash(part) in unsorted), None) if unsorted else None


def list_images(
    products: Iterable[Product], client: str, unsorted: set[int] | None = None
) -> tuple[list[Image], list[Dropped]]:
    """Return the images in the client's order, with aliases, and the entries that the client drops.

    For only some products of a stream, ``unsorted`` must be the ``Unsorted.hashes`` of the whole stream.
    """
    images: list[Image] = []
    dropped: list[Dropped] = []
    texts = 0
    for product in products:
        before = len(images) + len(dropped)
        _read_product(product, client, images, dropped)
        texts += (len(images) + len(dropped) - before) * _length(product)
        if texts > MOST_TEXTS:
            raise LimitError(
                f"the texts of the stream's images have more than {MOST_TEXTS >> 20} MiB in total"
            )
    _sort(images)
    if unsorted is None:
        found = Unsorted()
        for product in {id(image.product): image.product for image in images}.values():
            found.add(product)
        unsorted = found.hashes()
    _give_aliases(images, unsorted)
    return images, dropped


def _length(product: Product) -> int:
    texts = (
        product.name,
        product.os,
        product.release,
        product.version,
        product.variant,
        product.release_title,
    )
    requirements = (*product.requirements, *product.requirements.values())
    return sum(len(json.dumps(text)) - len('""') for text in (*texts, *requirements))


def _refuse_many(images: list[Image], dropped: list[Dropped]) -> None:
    if len(images) + len(dropped) > MOST_IMAGES:
        raise LimitError(f"the stream has more than {MOST_IMAGES} images")


def _read_product(product: Product, client: str, images: list[Image], dropped: list[Dropped]) -> None:
    architecture = kernel_name(product.arch, client)
    if architecture is None:
        dropped.append(Dropped(product.name, "", "architecture", f"unknown architecture '{product.arch}'"))
        _refuse_many(images, dropped)
        return
    for version in product.versions.values():
        _refuse_many(images, dropped)
        created = day(version.name[:8], "%Y%m%d")
        if created is None:
            reason = f"version name '{version.name}' does not begin with a date (YYYYMMDD)"
            dropped.append(Dropped(product.name, version.name, "version-name", reason))
            continue
        found = False
        for number, image in enumerate(_read_version(product, version, client, dropped)):
            found = True
            if number >= MOST_OF_A_VERSION:
                place = f"version '{printable(version.name)}' of product '{printable(product.name)}'"
                raise LimitError(f"{place} has more than {MOST_OF_A_VERSION} images")
            if isinstance(image, Dropped):
                dropped.append(image)
                continue
            image.architecture, image.created = architecture, created
            images.append(image)
        if not found:
            dropped.append(_without_images(product, version, client))
    _refuse_many(images, dropped)


def _without_images(product: Product, version: Version, client: str) -> Dropped:
    wanted, ftypes = metadata_ftype(client), {item.ftype for item in version.items.values()}
    if wanted in ftypes:
        return Dropped(product.name, version.name, "no-root", "metadata without a root filesystem")
    if ftypes & {"incus.tar.xz", "lxd.tar.xz", "incus_combined.tar.gz", "lxd_combined.tar.gz"}:
        reason = f"no item of ftype '{wanted}' or '{unified_ftype(client)}'"
        return Dropped(product.name, version.name, "other-family", reason)
    return Dropped(product.name, version.name, "no-metadata", "no metadata item")


def _read_version(
    product: Product, version: Version, client: str, dropped: list[Dropped]
) -> Iterator[Image | Dropped]:
    wanted, unified = metadata_ftype(client), unified_ftype(client)
    roots: dict[str, list[Item]] = {kind: [] for kind in ROOT_KINDS}
    for item in version.items.values():
        if item.ftype in roots:
            roots[item.ftype].append(item)
    for item in version.items.values():
        if item.ftype == wanted:
            for kind, others in roots.items():
                for other in others:
                    yield _split(product, version, item, kind, ROOT_KINDS[kind], other)
        elif item.ftype == unified:
            yield _unified(product, version, item, client)


def _split(
    product: Product, version: Version, metadata: Item, kind: str, root: RootKind, file: Item
) -> Image | Dropped:
    fingerprint = next((metadata.combined[key] for key in root.combined if metadata.combined.get(key)), "")
    if not fingerprint:
        reason = f"'{kind}' has no fingerprint: the metadata item lacks '{root.combined[0]}'"
        return Dropped(product.name, version.name, "no-fingerprint", reason)
    if not metadata.path:
        return Dropped(product.name, version.name, "no-path", "the metadata item has no path")
    return Image(product, version, kind, root.type, "", fingerprint, metadata, file, date.min)


def _unified(product: Product, version: Version, item: Item, client: str) -> Image | Dropped:
    if not item.sha256:
        reason = "the unified image has no fingerprint: its item lacks 'sha256'"
        return Dropped(product.name, version.name, "no-fingerprint", reason)
    if not item.path:
        return Dropped(product.name, version.name, "no-path", "the unified image has no path")
    machine = client == "incus-7" and item.combined_type == "virtual-machine"
    type: Type = "virtual-machine" if machine else "container"
    return Image(product, version, UNIFIED, type, "", item.sha256, item, None, date.min)


def _sort(images: list[Image]) -> None:
    """Sort the images by name, then by version (newest first), then by architecture and kind."""
    # The order matters: if several images could get an alias, the first of these images gets the alias.
    images.sort(key=lambda image: (image.product.arch, _rank(image)))
    images.sort(key=lambda image: image.version.name, reverse=True)
    images.sort(key=lambda image: (image.product.os, image.product.release, image.product.variant))


def _rank(image: Image) -> int:
    return 0 if image.root is None else ROOT_KINDS[image.kind].rank


def _give_aliases(images: Iterable[Image], unsorted: set[int]) -> None:
    """Assign each alias to the first image of its type and architecture whose product has the alias.

    If clients list the possible images in a random order, add the alias to ``Image.random``.
    """
    owners: dict[tuple[str, str, str], tuple[Image, tuple[object, ...]]] = {}
    #: for each product, type and architecture: the first image's key from ``_tie``, and all images with this
    #: key
    firsts: dict[tuple[int, str, str], tuple[tuple[object, ...], list[Image]]] = {}
    for image in images:
        tie = _tie(image, unsorted)
        key = (id(image.product), image.type, image.architecture)
        first = firsts.setdefault(key, (tie, []))
        if first[0] == tie:
            first[1].append(image)
    for (_, kind, architecture), (tie, tied) in firsts.items():
        image = tied[0]
        several = any(other.fingerprint != image.fingerprint for other in tied)
        for name in client_aliases(image.product):
            owner, tie_of_owner = owners.setdefault((kind, architecture, name), (image, tie))
            if owner is image:
                image.aliases.append(name)
            if tie_of_owner == tie and (several or owner.fingerprint != image.fingerprint):
                owner.random.add(name)


def _tie(image: Image, unsorted: set[int]) -> tuple[object, ...]:
    """Return a key. If the keys of two images are equal, clients list these images in a random order."""
    product = image.product
    part = unsorted_part(product, unsorted)
    if part is not None:
        return ("part", *part)
    names = (product.os, product.release, product.variant)
    return ("image", *names, image.version.name, product.arch, _rank(image))


def client_aliases(product: Product | PlainProduct) -> list[str]:
    """Return two names for each alias of a product: ``ALIAS`` and ``ALIAS/ARCHITECTURE``.

    An alias can contain spaces.
    """
    names = product.aliases.split(",") if product.aliases else []
    return [spelling for name in names for spelling in (name, f"{name}/{product.arch}")]
