"""Republishing another server's stream (the origin) for Incus and LXD.

templater either copies the image files into the tree, or redirects clients to the origin.
"""

from __future__ import annotations

import copy
import hashlib
import io
import os
import posixpath
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..image.atomic_output import Output
from ..image.file_extensions import extension
from ..image.open_file import kind_of_file
from ..model.architectures import KERNEL_NAMES
from ..model.errors import InputError, RefusedError, UsageError
from ..model.progress import Progress, silent
from ..model.unprintable_characters import printable
from ..rootfs.trusted_paths import make_folder
from .add_to_tree import FAMILIES, types_of
from .catalog_decoder import (
    COMBINED,
    DOWNLOADS,
    INDEX_PATH,
    CatalogSize,
    Decoded,
    decode_index,
    decode_products,
    parse_json,
)
from .client_image_list import ROOT_KINDS, Image, list_images
from .downloads import MOST_BYTES, expected_size
from .https_client import UrlStream
from .list_stream import refuse_unreadable
from .remove_and_prune import record_and_save
from .signatures import Signatures, signed_path
from .tree import IMAGES, Tree, content_path, is_content_name
from .tree_catalog import Catalog, clean_path, complete_variants, fingerprints_of
from .verify import image_problems
from .verify_files import MOST_COMBINED, SHA256
from .verify_report import shown
from .web_server_redirects import file_stem, prefix_of, rules

_METADATA = (".tar.xz", "_combined.tar.gz")
#: limit in bytes on a metadata tarball that is downloaded for its templates
_MOST_METADATA = 64 << 20


@dataclass(frozen=True, slots=True)
class Reindexed:
    products: int
    images: int
    #: paths of the written files with redirect rules
    rules: tuple[str, ...]
    copied: int
    bytes: int
    warnings: tuple[str, ...]
    described: tuple[Described, ...]


@dataclass(frozen=True, slots=True)
class Described:
    """A republished image. ``copy`` is the path of the copied metadata file, or "" without a copy."""

    image: Image
    copy: str


def republish(
    origin: UrlStream,
    tree: Tree,
    *,
    redirects: str | None = None,
    copying: bool = False,
    keyring: str | None = None,
    progress: Progress = silent,
) -> Reindexed:
    """Write the origin's products into a separate products file. Replace the file if it exists.

    * ``copying``: copy the image files
    * ``redirects``: a directory for web server rules that redirect clients to the origin

    Raises UsageError unless the caller gives exactly one of ``copying`` and ``redirects``.
    """
    if (redirects is None) == (not copying):
        raise UsageError(
            "give either --redirect or --copy",
            hint="--redirect DIR leaves the image files at the origin; --copy copies them into the tree",
        )
    prefix = prefix_of(origin.base)
    warnings: list[str] = []
    if keyring is None:
        warnings.append(
            f"only TLS protects the catalog of {origin.base}: without --keyring, its signature is not checked"
        )
    document = read_origin(origin, keyring)
    products = convert(document)
    usable = usable_images(products, warnings)
    tree.create()
    path = f"streams/v1/{file_stem(origin.base)}.json"
    usable = _without_duplicates(tree.load(), path, usable, warnings)
    copied = size = 0
    if copying:
        places, copied, size = _copy_files(origin, tree, usable, progress)
    else:
        places = {path: f"{prefix}/{path}" for path in _paths(usable)}
    with tree.lock():
        catalog = tree.load()
        before = catalog.paths()
        # Another process may have added images before the tree was locked, so look for duplicates again.
        usable = _without_duplicates(catalog, path, usable, warnings)
        _keep_usable(products, usable, places)
        _leave_aliases(catalog, path, products, warnings)
        catalog.files[path] = {**document, "datatype": DOWNLOADS, "products": products}
        catalog.changed.add(path)
        complete_variants(catalog, [])
        refuse_unreadable(tree, catalog)
        record_and_save(tree, catalog, before)
    written = _write_rules(origin.base, redirects) if redirects is not None else ()
    images = len({image.fingerprint for image in usable})
    described = tuple(
        Described(image, tree.locate(places[clean_path(image.metadata.path)]) if copying else "")
        for image in usable
    )
    return Reindexed(len(products), images, written, copied, size, tuple(warnings), described)


def read_origin(origin: UrlStream, keyring: str | None) -> dict[str, Any]:
    """Return one document with the products of every index entry that clients read.

    If ``keyring`` is given, check the signature of every file. Raises InputError for an invalid or empty
    catalog.
    """
    decoded, size = Decoded(), CatalogSize()
    signatures = None if keyring is None else Signatures(keyring)
    entries = decode_index(_read(origin, INDEX_PATH, signatures, size), decoded)
    merged: dict[str, Any] = {"content_id": "images", "format": "products:1.0"}
    products: dict[str, Any] = {}
    for entry in entries:
        path = clean_path(entry.path)
        if entry.datatype != DOWNLOADS or not entry.products or not path:
            continue
        raw = _read(origin, path, signatures, size)
        list(decode_products(raw, path, decoded))
        if decoded.mismatches:
            first = decoded.mismatches[0]
            raise InputError(f"invalid catalog at the origin: {first.place}: {first.message}")
        if decoded.odd_keys:
            raise InputError(f"invalid catalog at the origin: upper case in the key {decoded.odd_keys[0]}")
        if raw is not None:
            products.update(raw.get("products") or {})
            merged.update(raw)
    if not products:
        raise InputError(f"'{origin.base}' publishes no images")
    return {**merged, "products": products}


def _read(origin: UrlStream, path: str, signatures: Signatures | None, size: CatalogSize) -> Any:
    wanted = path if signatures is None else signed_path(path)
    try:
        data = origin.read(wanted)
    except FileNotFoundError:
        raise InputError(f"'{origin.url(wanted)}' is missing") from None
    if signatures is not None:
        with origin.small_file():
            data = signatures.verified_text(data, origin.url(wanted))
    size.add(io.BytesIO(data), origin.url(wanted))
    return parse_json(data, origin.url(wanted))


# converting


def convert(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the origin's products. Each metadata item appears twice: for Incus and for LXD.

    Hashes, sizes and paths do not change.
    """
    products = {}
    for name, original in document["products"].items():
        product = copy.deepcopy(original or {})
        product["versions"] = {key: value or {} for key, value in (product.get("versions") or {}).items()}
        for version in product["versions"].values():
            version["items"] = _both_families(version.get("items") or {})
        product["variant"] = product.get("variant") or "default"
        product["aliases"] = ",".join(prefixed_aliases(product))
        if product.get("lxd_requirements") is not None:
            product["requirements"] = dict(product["lxd_requirements"])
        products[name] = product
    return products


def prefixed_aliases(product: Mapping[str, Any]) -> list[str]:
    """Return the aliases as ``OS/ALIAS``, because ``default`` or ``lts`` alone is ambiguous in a tree.

    An alias that already begins with the OS does not change.
    """
    start = "".join(str(product.get("os") or "").lower().split())
    found: dict[str, None] = {}
    for alias in str(product.get("aliases") or "").split(","):
        alias = "".join(alias.split())
        if alias:
            found[
                alias if not start or alias == start or alias.startswith(f"{start}/") else f"{start}/{alias}"
            ] = None
    return list(found)


def _both_families(items: Mapping[str, Any]) -> dict[str, Any]:
    """Return the items that clients read. Each metadata item appears twice: for Incus and for LXD."""
    kept = {}
    for key, item in items.items():
        ftype = (item or {}).get("ftype") or ""
        family = next((name for name in FAMILIES if ftype in {name + ending for ending in _METADATA}), "")
        if family or ftype in ROOT_KINDS or ftype.removesuffix(".vcdiff") in ROOT_KINDS:
            kept[key] = item
    first: dict[str, Any] = {}
    for item in kept.values():
        first.setdefault(item["ftype"], item)
    for ftype, item in first.items():
        for family, other in (FAMILIES, FAMILIES[::-1]):
            twin = other + ftype.removeprefix(family)
            if ftype in {family + ending for ending in _METADATA} and twin not in first:
                kept[twin] = {**item, "ftype": twin}
    return kept


def usable_images(products: Mapping[str, Any], warnings: list[str]) -> list[Image]:
    """Return the images that Incus lists and can download. Check only the catalog, not the image files."""
    decoded = Decoded()
    images, dropped = list_images(decode_products({"products": products}, "", decoded), "incus-6.0")
    if decoded.mismatches:
        raise InputError(f"invalid catalog at the origin: {decoded.mismatches[0].message}")
    usable = []
    for image in images:
        problem = next(iter(image_problems(image, "incus-6.0")), None)
        if problem is None:
            usable.append(image)
        else:
            place = f"'{shown(image.product.name)}' version '{shown(image.version.name)}'"
            warnings.append(f"skipped {place}: {problem.message}")
    if dropped:
        first = dropped[0]
        example = f"'{printable(first.product)}' ({printable(first.reason)})"
        warnings.append(f"skipped {len(dropped)} entries that Incus does not list, such as {example}")
    if not usable:
        raise InputError("the origin has no image that Incus could list")
    return usable


def _without_duplicates(catalog: Catalog, path: str, images: list[Image], warnings: list[str]) -> list[Image]:
    """Return ``images`` without the images that a products file other than ``path`` lists.

    Return each image only once.
    """
    # Clients can't download an image that a catalog lists twice.
    catalog = Catalog(catalog.index, {name: file for name, file in catalog.files.items() if name != path})
    own = {fingerprint for item in catalog.items() for fingerprint in fingerprints_of(item)}
    kept = []
    for image in images:
        if image.fingerprint in own:
            name = shown(image.product.name)
            warnings.append(
                f"skipped an image of '{name}', because the tree already has it: {image.fingerprint}"
            )
        else:
            own.add(image.fingerprint)
            kept.append(image)
    return kept


def _leave_aliases(catalog: Catalog, path: str, products: dict[str, Any], warnings: list[str]) -> None:
    """Remove each alias that another products file already uses for the same architecture and type."""
    # If both files had the alias, a client could get the origin's image instead of the image in the other
    # products file.
    owners = {
        owned: name
        for other, name, product in catalog.read()
        if other != path
        for owned, _ in _owned_aliases(product)
    }
    for product in products.values():
        taken = {alias: owners[owned] for owned, alias in _owned_aliases(product) if owned in owners}
        for alias, owner in taken.items():
            warnings.append(
                f"did not set the alias '{printable(alias)}', which belongs to '{printable(owner)}'"
            )
        kept = [alias for alias in product["aliases"].split(",") if alias not in taken]
        product["aliases"] = ",".join(kept)


def _owned_aliases(product: Mapping[str, Any]) -> Iterator[tuple[tuple[str | None, str, str], str]]:
    """Yield ``((architecture, type, name), alias)`` for each name of each alias.

    Clients know each alias by two names: ``ALIAS`` and ``ALIAS/ARCHITECTURE``.
    """
    arch = str(product.get("arch"))
    for kind in set(types_of(product)):
        for alias in str(product.get("aliases") or "").split(","):
            for name in (alias, f"{alias}/{arch}") if alias else ():
                yield (KERNEL_NAMES.get(arch), kind, name), alias


def _paths(images: Iterable[Image]) -> dict[str, None]:
    return {clean_path(item.path): None for image in images for item in image.files}


def _keep_usable(products: dict[str, Any], images: Iterable[Image], places: Mapping[str, str]) -> None:
    """Remove items and versions that are not part of a usable image, and set the new paths."""
    kept: dict[tuple[str, str], set[str]] = {}
    fingerprints = {image.fingerprint for image in images}
    for image in images:
        paths = kept.setdefault((image.product.name, image.version.name), set())
        paths.update(clean_path(item.path) for item in image.files)
    for name, product in list(products.items()):
        versions = product["versions"]
        for version in list(versions):
            paths = kept.get((name, version), set())
            if not paths:
                del versions[version]
                continue
            items = versions[version]["items"]
            for key, item in list(items.items()):
                path = clean_path(item.get("path"))
                if path not in paths:
                    del items[key]
                    continue
                item["path"] = places[path]
                for combined in COMBINED:
                    if item.get(combined) not in fingerprints:
                        item.pop(combined, None)
        if not versions:
            del products[name]


# files


def _copy_files(
    origin: UrlStream, tree: Tree, images: Iterable[Image], progress: Progress
) -> tuple[dict[str, str], int, int]:
    """Download the files that the tree lacks.

    Return a dict from old to new paths, the number of downloaded files, and their size in bytes. Raises
    RefusedError if the hash or size of a file is wrong.
    """
    have = {posixpath.basename(path).partition(".")[0]: path for path in tree.content_files()}
    places: dict[str, str] = {}
    copied = size = 0
    items = {clean_path(item.path): item for image in images for item in image.files}
    total = sum(item.size for item in items.values() if item.sha256 not in have)
    for path, item in items.items():
        if item.sha256 not in have:
            assert SHA256.fullmatch(item.sha256) and is_content_name(item.sha256)
            most = expected_size(item.size, origin.url(path), MOST_BYTES)
            with tree.output(IMAGES) as output:
                try:
                    with origin.pieces(path) as pieces:
                        for piece in pieces:
                            output.write(piece)
                            progress(copied, size + output.size, path, total)
                            if output.size > most:
                                raise RefusedError(f"'{origin.url(path)}' is larger than {most} bytes")
                except FileNotFoundError:
                    raise InputError(f"'{origin.url(path)}' is missing") from None
                digest = output.sha256.hexdigest()
                if digest != item.sha256:
                    raise RefusedError(f"'{origin.url(path)}' has the sha256 {digest}, not {item.sha256}")
                place = content_path(digest, extension(kind_of_file(output.path)))
                tree.publish(output, place)
                have[item.sha256] = place
            copied, size = copied + 1, size + output.size
        places[path] = have[item.sha256]
    tree.sync_images()
    _check_combined(tree, images, places)
    return places, copied, size


def _check_combined(tree: Tree, images: Iterable[Image], places: Mapping[str, str]) -> None:
    """Compare the fingerprints of images with their copied files. Each file is read once."""
    by_root: dict[str, list[Image]] = {}
    starts: dict[str, hashlib._Hash] = {}
    for image in images:
        root = "" if image.root is None else places[clean_path(image.root.path)]
        by_root.setdefault(root, []).append(image)
        first = places[clean_path(image.metadata.path)]
        if first not in starts:
            starts[first] = hashlib.sha256()
            _hash(tree, first, [starts[first]])
    for root, users in by_root.items():
        firsts = {places[clean_path(image.metadata.path)] for image in users}
        if root and len(firsts) > MOST_COMBINED:
            name = shown(users[0].product.name)
            raise InputError(f"more than {MOST_COMBINED} images use the root filesystem of '{name}'")
        digests = {first: starts[first].copy() for first in firsts}
        if root:
            _hash(tree, root, digests.values())
        for image in users:
            digest = digests[places[clean_path(image.metadata.path)]].hexdigest()
            if digest != image.fingerprint:
                name = printable(image.product.name)
                raise RefusedError(
                    f"the files of '{name}' have the fingerprint {digest}, not {image.fingerprint}"
                )


def _hash(tree: Tree, path: str, digests: Collection[hashlib._Hash]) -> None:
    """Update the digests with the content of a file."""
    with tree.pieces(path) as pieces:
        for piece in pieces:
            for digest in digests:
                digest.update(piece)


@contextmanager
def metadata_file(origin: UrlStream, described: Described) -> Iterator[str]:
    """Yield the path of an image's metadata. If the tree has no copy, download the metadata.

    Raises RefusedError if the metadata is too large, has a wrong hash, or is in a unified image without a
    copy.
    """
    if described.copy:
        yield described.copy
        return
    item = described.image.metadata
    if described.image.root is None:
        raise RefusedError("the templates are inside a unified image, which was not copied")
    with tempfile.TemporaryDirectory(prefix="templater-metadata-") as folder, Output(folder) as output:
        with origin.pieces(clean_path(item.path)) as pieces:
            for piece in pieces:
                output.write(piece)
                if output.size > _MOST_METADATA:
                    raise RefusedError(f"the metadata is larger than {_MOST_METADATA >> 20} MiB")
        if (digest := output.sha256.hexdigest()) != item.sha256:
            raise RefusedError(f"'{origin.url(item.path)}' has the sha256 {digest}, not {item.sha256}")
        path = os.path.join(folder, "metadata")
        output.publish(path)
        yield path


def _write_rules(base: str, folder: str) -> tuple[str, ...]:
    make_folder(folder).close()
    written = []
    for name, text in rules(base).items():
        path = os.path.join(folder, name)
        with Output(folder) as output:
            output.write(text.encode())
            output.publish(path, replace=True)
        written.append(path)
    return tuple(written)
