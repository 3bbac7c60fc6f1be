"""The sources of images for a server: a simplestreams tree, the store of this machine, and image files.

If the source is a tree, the server opens no file outside of the tree. For the store and for image files,
this module generates a catalog.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import IO, Any, Protocol

from ..distribution.add_to_tree import Added, NewImage, default_aliases, insert, product_fields, root_ftype
from ..distribution.catalog_decoder import INDEX_PATH, Product, dump
from ..distribution.catalog_limits import LISTED_CLIENTS, add_catalog_file
from ..distribution.client_image_list import ROOT_KINDS, Image, client_aliases, list_images
from ..distribution.list_stream import read_products
from ..distribution.products_by_line import dump_products
from ..distribution.store import Store, StoredImage
from ..distribution.stream_interface import LocalStream
from ..distribution.tree import Tree, content_path, open_directory, real_path
from ..distribution.tree_catalog import Catalog, clean_path
from ..image.describe import describe
from ..image.file_extensions import extension
from ..image.fingerprint import fingerprint
from ..image.limits import DEFAULT, Limits
from ..image.open_file import OpenFile, close_with, opened, reading, refuse_private
from ..model.architectures import KERNEL_NAMES
from ..model.errors import InputError, RefusedError, TemplaterError, UsageError, reason
from ..model.instance import CONTAINER, VIRTUAL_MACHINE
from ..model.metadata import Metadata
from ..model.unprintable_characters import printable
from ..parsing.file_kind import HEAD, QCOW2, recognise
from ..rootfs.regular_files import require_public
from .image_api_answers import Elements, EncodedList
from .image_listing import Listing
from .served_image import File, Served

#: minimum seconds until the store records again that an image is in use
_USE = 3600
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
#: a function that receives a message for the user who runs the server
Report = Callable[[str], None]


class Source(Protocol):
    def changed(self) -> bool:
        """Return whether the images may have changed since the last call of ``load``."""

    def load(self) -> Listing: ...

    def open(self, path: str, /) -> int:
        """Open the public file at a path of the server. Raises FileNotFoundError if it is missing."""


class StoreSource:
    """The complete, public images of the store."""

    def __init__(self, report: Report, store: Store | None = None) -> None:
        self._store = store or Store()
        self._report = report
        self._files = PublicFiles()
        #: the identity of the records before they were read
        self._read: tuple[int, ...] = ()
        #: maps the hash of each file of a fetched image to the image's fingerprint
        self._fetched: dict[str, str] = {}
        #: the time of the last recorded use of an image, by its fingerprint
        self._used: dict[str, float] = {}

    def changed(self) -> bool:
        return self._identity() != self._read

    def _identity(self) -> tuple[int, ...]:
        return identity_of(os.stat(os.path.join(self._store.path, "images.db")))

    def load(self) -> Listing:
        identity = self._identity()
        stored = [image for image in self._store.images() if image.public and image.complete]
        self._read = identity  # only now: if another process locks the store, the next request tries again
        listing, self._files = listing_of([self._local(image) for image in stored], self._report)
        self._fetched = {
            sha256: image.fingerprint
            for image in stored
            if image.cached
            for sha256 in (image.metadata, image.root)
        }
        return listing

    def _local(self, image: StoredImage) -> LocalImage:
        paths = tuple(self._store.paths(image))
        facts = Metadata(image.architecture, image.created, image.expires, dict(image.properties))
        hashes = tuple(each for each in (image.metadata, image.root) if each)
        return LocalImage(
            paths, hashes, image.fingerprint, image.type or CONTAINER, facts, image.aliases, image.imported
        )

    def open(self, path: str, /) -> int:
        fd = self._files.open(path)
        name = clean_path(path).rpartition("/")[2].partition(".")[0]
        if (fingerprint := self._fetched.get(name)) is not None:
            self._use(fingerprint)
        return fd

    def _use(self, fingerprint: str) -> None:
        """Record in the store, at most once an hour, that a fetched image is in use.

        The store does not remove images in use.
        """
        now = time.monotonic()
        if now - self._used.get(fingerprint, -_USE) >= _USE:
            self._used[fingerprint] = now
            with suppress(TemplaterError):  # another process can delete the image, or lock the store for long
                self._store.use(fingerprint)


class FilesSource:
    """Images in files that the user gives.

    Of a split image, the root filesystem comes after the metadata tarball.
    """

    def __init__(
        self, paths: Sequence[str], aliases: Sequence[str], report: Report, limits: Limits = DEFAULT
    ) -> None:
        images = []
        with ExitStack() as stack:
            # Each file is opened only once, to be described, hashed and served. So the served image stays the
            # same if another user replaces the file.
            rest = [refuse_private(stack.enter_context(opened(_file(path)))) for path in paths]
            while rest:
                images.append(_read_image(rest, limits))
            if aliases and len(images) != 1:
                raise UsageError("--alias needs exactly one image")
            images = [replace(image, aliases=(*image.aliases, *aliases)) for image in images]
            self._listing, self._files = listing_of(images, report)

    def changed(self) -> bool:
        return False

    def load(self) -> Listing:
        return self._listing

    def open(self, path: str, /) -> int:
        return self._files.open(path)


def _file(path: str) -> str:
    if os.path.isdir(path):
        raise UsageError(
            f"'{path}' is a directory",
            hint=f"pack the directory first: templater image build {path} -o FILE",
        )
    return path


def _read_image(rest: list[OpenFile], limits: Limits) -> LocalImage:
    """Remove the first image's files from ``rest``, and describe the image."""
    first = rest.pop(0)
    found = describe(first, limits=limits)
    paths = [first]
    if found.fingerprint is None:
        if not rest:
            raise UsageError(
                f"'{first}' is the metadata of a split image, without a root filesystem",
                hint="give both files: the metadata tarball, then the root filesystem",
            )
        paths.append(rest.pop(0))
        found = describe(first, paths[1], limits)
    assert found.fingerprint is not None
    facts = found.metadata
    hashes = (found.fingerprint,) if len(paths) == 1 else tuple(map(fingerprint, paths))
    kind = VIRTUAL_MACHINE if found.rootfs == QCOW2 else CONTAINER
    try:
        names = tuple(default_aliases(product_fields(facts)))
    except KeyError:
        names = ()
    return LocalImage(tuple(paths), hashes, found.fingerprint, kind, facts, names)


class TreeSource:
    """A tree as a source of images.

    Other servers serve the paths that begin with a text in ``redirected``.
    """

    def __init__(self, path: str, redirected: Iterable[str] = ()) -> None:
        self.path = path
        # The directory stays open, so that the owner of a directory above can't replace the tree by a
        # symlink.
        self._directory = open_directory(path)
        close_with(self, self._directory)
        self._redirected = tuple(redirected)
        #: the identity of each catalog file, taken before the file was read
        self._read: dict[str, tuple[int, ...]] = {}

    def changed(self) -> bool:
        return any(_identity(self._directory, path) != identity for path, identity in self._read.items())

    def load(self) -> Listing:
        stream = _Catalogs(Tree(self.path, self._directory), self._directory)
        self._read = stream.read  # also if a catalog is invalid: then wait until one of these files changes
        return Listing(self._images(read_products(stream)))

    def _images(self, products: Sequence[Product]) -> Iterator[Served]:
        files: dict[int, File] = {}
        for client in LISTED_CLIENTS:
            named: set[tuple[object, str, str]] = set()
            for image in list_images(products, client)[0]:
                served = _from_tree(image, named, files)
                if not any(file.path.startswith(self._redirected) for file in served.files):
                    yield served

    def open(self, path: str, /) -> int:
        return open_beneath(self._directory, path)


class _Catalogs(LocalStream):
    """The catalog files of a tree.

    The dict ``read`` maps the path of each file to the file's identity before it was opened.
    """

    def __init__(self, tree: Tree, directory: int) -> None:
        super().__init__(tree)
        self.read: dict[str, tuple[int, ...]] = {}
        self._directory = directory
        self._bytes = 0

    def file(self, path: str, /) -> IO[bytes]:
        """Open a file of the catalog. Raises LimitError if the catalog is too large."""
        self.read.setdefault(path, _identity(self._directory, path))
        file = super().file(path)
        # The limit is low, because the server still has the old list of images in memory.
        self._bytes = add_catalog_file(self._bytes, file)
        return file


def _identity(directory: int, path: str) -> tuple[int, ...]:
    try:
        status = os.stat(path, dir_fd=directory)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _from_tree(image: Image, named: set[tuple[object, str, str]], files: dict[int, File]) -> Served:
    """Convert an image of a catalog to a ``Served`` with the properties that clients derive from the catalog.

    ``files`` maps ``id(item)`` of each catalog item to its file. Several images can share a file.
    """
    product, version = image.product, image.version
    variant = f" ({product.variant})" if product.variant not in ("", "default") else ""
    label = f" ({version.label})" if version.label else ""
    title = f"{product.os} {product.release_title} {product.arch}"
    values = {
        "os": product.os, "release": product.release, "version": product.version,
        "architecture": product.arch, "variant": product.variant, "label": version.label,
        "serial": version.name, "type": image.kind,
        "description": f"{title}{variant}{label} ({version.name})",
        **{f"requirements.{name}": value for name, value in product.requirements.items()},
    }  # fmt: skip
    downloads = []
    kind = (id(product), image.type, image.architecture)
    if image.root is None and kind not in named:  # otherwise, another image of the product has these names
        named.add(kind)
        for name in client_aliases(product):
            key = (name, image.type, image.architecture)
            if key not in named:
                named.add(key)
                downloads.append(name)
    for item in image.files:
        if id(item) not in files:
            files[id(item)] = File(clean_path(item.path), item.size, item.sha256)
    created = _day(image.created.toordinal())
    return Served(
        image.fingerprint, image.type, image.architecture, created,
        _day(image.expires.toordinal()) if image.expires else 0, created,
        {name: value for name, value in values.items() if value},
        tuple(files[id(item)] for item in image.files),
        tuple(image.aliases), tuple(downloads),
    )  # fmt: skip


def _day(ordinal: int) -> int:
    return (ordinal - 719163) * 86400  # 719163 is the ordinal of 1970-01-01


def open_beneath(root: int, path: str) -> int:
    """Open a regular file below the open directory ``root``. Follow symlinks, but never out of the directory.

    Raises FileNotFoundError if no public file exists at the path.
    """
    cleaned = clean_path(path)
    base = _path_of(root)
    try:
        real = real_path(os.path.join(base, cleaned))
    except InputError:
        raise FileNotFoundError(path) from None
    parts = os.path.relpath(real, base).split("/")
    # A file is not public if a part of its path begins with a dot.
    hidden = any(part.startswith(".") for part in (*cleaned.split("/"), *parts))
    if not cleaned or hidden or "\0" in path:
        raise FileNotFoundError(path)
    # The real path contains no symlink. If a symlink appears meanwhile, opening the file fails.
    opened = [os.dup(root)]
    owned = {
        os.fstat(root).st_uid: root
    }  # the first directory of each owner, who could rename the names below
    try:
        for number, part in enumerate(parts, 1):
            flags = _FLAGS | (os.O_DIRECTORY if number < len(parts) else 0)
            opened.append(os.open(part, flags, dir_fd=opened[-1]))
            for above in (opened[-2], *owned.values()):
                require_public(opened[-1], above, path)
            owned.setdefault(os.fstat(opened[-1]).st_uid, opened[-1])
        fd = os.dup(opened[-1])
    except (OSError, ValueError, RefusedError):
        raise FileNotFoundError(path) from None
    finally:
        for each in opened:
            os.close(each)
    return regular_file(fd, path)


def _path_of(directory: int) -> str:
    """Return the current real path of an open directory."""
    if sys.platform == "darwin":
        return os.fsdecode(fcntl.fcntl(directory, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{directory}")


def regular_file(fd: int, path: str) -> int:
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise FileNotFoundError(path)


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
    """The public files. The key of each file is its path on the server.

    If a file was replaced after ``add``, ``open`` raises FileNotFoundError.
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
    """Return the listing of the images, with a simplestreams catalog, and their files.

    The listing omits images with unreadable files. The catalog also omits images that simplestreams clients
    would misread.
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
    """Add an image to the catalog. Return "", or the reason why the catalog cannot contain the image."""
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
    """Set the aliases of the product to which the caller has just added an image.

    ``before`` is the text of the product's aliases before this addition. The last added version decides the
    aliases, so the caller must add the newest version last.
    """
    products: dict[str, dict[str, Any]] = {name: product for _, name, product in catalog.products()}
    product = products[added.product]
    items = product["versions"][added.version]["items"]
    several = sum(name in ROOT_KINDS for name in items) > 1
    others = before.split(",") if several and before else []
    product["aliases"] = ",".join(dict.fromkeys((*others, *aliases)))
