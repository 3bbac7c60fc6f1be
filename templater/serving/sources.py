"""Sources of images: a simplestreams tree, the store of this machine, or image files."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import IO, Any, Protocol

from ..distribution.add import Added, NewImage, default_aliases, insert, product_fields, root_ftype
from ..distribution.catalog import INDEX_PATH, dump
from ..distribution.client_view import ROOT_KINDS, Image, client_aliases, list_images
from ..distribution.listing import read_products
from ..distribution.product_lines import dump_products
from ..distribution.store import Store, StoredImage
from ..distribution.tree import Catalog, Tree, clean_path, content_path, real_path
from ..distribution.verify import LocalStream
from ..image.contents import kind_of_file
from ..image.describe import describe
from ..image.file_extensions import extension
from ..image.fingerprint import fingerprint
from ..image.limits import DEFAULT, Limits
from ..model.architectures import KERNEL_NAMES
from ..model.errors import InputError, LimitError, TemplaterError, UsageError, reason
from ..model.instance import CONTAINER, VIRTUAL_MACHINE
from ..model.metadata import Metadata
from ..model.source import printable
from ..parsing.file_kind import QCOW2
from .served import File, Listing, Served

#: limit in bytes on the catalog of a served tree, which is loaded again while the server has the old images
_MOST_BYTES = 24 << 20

#: a function that receives a message for the operator of the server
Report = Callable[[str], None]
#: minimum number of seconds between two records of the use of an image
_USE = 3600
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class Source(Protocol):
    def stamp(self) -> object:
        """Return a value that changes whenever the list of images changes."""

    def load(self) -> Listing: ...

    def open(self, path: str, /) -> int:
        """Open the file at a path of the server. Raises FileNotFoundError if the path has no public file."""


# a tree


class TreeSource:
    """A tree. ``redirected`` are the prefixes of paths whose files are on other servers.

    The source opens the directory once and keeps it open. Otherwise, the owner of a directory above the tree
    could replace the tree by a symlink to ``/``.
    """

    def __init__(self, path: str, redirected: Iterable[str] = ()) -> None:
        self.path = path
        self._directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._directory)
        self._redirected = tuple(redirected)
        self._catalogs = [INDEX_PATH]

    def stamp(self) -> object:
        stamps = []
        for path in self._catalogs:
            try:
                status = os.stat(path, dir_fd=self._directory)
                stamps.append((status.st_ino, status.st_mtime_ns, status.st_size))
            except OSError:
                stamps.append((0, 0, 0))
        return stamps

    def load(self) -> Listing:
        stream = _Catalogs(Tree(self.path, self._directory))
        products = read_products(stream)
        self._catalogs = stream.paths
        images: dict[str, Served] = {}
        for client in ("incus-7", "lxd"):
            named: set[tuple[object, str, str]] = set()
            for image in list_images(products, client)[0]:
                served = _from_tree(image, named)
                if not any(file.path.startswith(self._redirected) for file in served.files):
                    images.setdefault(served.fingerprint, served)
        return Listing(tuple(images.values()))

    def open(self, path: str, /) -> int:
        return open_beneath(self._directory, path)


class _Catalogs(LocalStream):
    """The catalog files of a tree. ``paths`` are the paths of the files that were read."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree)
        self.paths: list[str] = []
        self._bytes = 0

    def file(self, path: str, /) -> IO[bytes]:
        """Open a file. Raises LimitError for a large catalog, because two catalogs must fit in memory."""
        self.paths.append(path)
        file = super().file(path)
        self._bytes += os.fstat(file.fileno()).st_size
        if self._bytes > _MOST_BYTES:
            file.close()
            raise LimitError(f"the catalog has more than {_MOST_BYTES >> 20} MiB")
        return file


def _from_tree(image: Image, named: set[tuple[object, str, str]]) -> Served:
    """Return an image of a catalog with the properties that clients derive from the catalog."""
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
    if image.root is None and kind not in named:  # else another image of the product has its names
        named.add(kind)
        for name in client_aliases(product):
            key = (name, image.type, image.architecture)
            if key not in named:
                named.add(key)
                downloads.append(name)
    created = _day(image.created.toordinal())
    return Served(
        image.fingerprint, image.type, image.architecture, created,
        _day(image.expires.toordinal()) if image.expires else 0, created,
        {name: value for name, value in values.items() if value},
        tuple(File(clean_path(item.path), item.size, item.sha256) for item in image.files),
        tuple(image.aliases), tuple(downloads),
    )  # fmt: skip


def _day(ordinal: int) -> int:
    return (ordinal - 719163) * 86400  # 719163 is the ordinal of 1970-01-01


def open_beneath(root: int, path: str) -> int:
    """Open a regular file below an open directory. Follow symlinks, but never out of the directory.

    Raises FileNotFoundError for every path without a public file, for example a name that begins with a dot.
    """
    cleaned = clean_path(path)
    base = _path_of(root)
    try:
        real = real_path(os.path.join(base, cleaned))
    except InputError:
        raise FileNotFoundError(path) from None
    parts = os.path.relpath(real, base).split("/")
    hidden = any(part.startswith(".") for part in (*cleaned.split("/"), *parts))
    if not cleaned or hidden or "\0" in path:
        raise FileNotFoundError(path)
    # The real path contains no symlink. If a symlink appears meanwhile, opening the file fails.
    opened = [os.dup(root)]
    try:
        for part in parts[:-1]:
            opened.append(os.open(part, _FLAGS | os.O_DIRECTORY, dir_fd=opened[-1]))
        fd = os.open(parts[-1], _FLAGS, dir_fd=opened[-1])
    except (OSError, ValueError):
        raise FileNotFoundError(path) from None
    finally:
        for each in opened:
            os.close(each)
    return _regular(fd, path)


def _path_of(directory: int) -> str:
    """Return the current real path of an open directory."""
    if sys.platform == "darwin":
        return os.fsdecode(fcntl.fcntl(directory, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{directory}")


def _regular(fd: int, path: str) -> int:
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise FileNotFoundError(path)


# single images


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
class _Files:
    """The public files by their path on the server.

    A file that was replaced after the listing is not opened.
    """

    paths: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)

    def add(self, path: str, sha256: str) -> File:
        place = content_path(sha256, extension(kind_of_file(path)))
        status = os.stat(path)
        self.paths[place] = (path, _identity(status))
        return File(place, status.st_size, sha256)

    def open(self, path: str) -> int:
        place, identity = self.paths.get(clean_path(path), ("", ()))
        try:
            fd = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            raise FileNotFoundError(path) from None
        if _identity(os.fstat(fd)) != identity:
            os.close(fd)
            raise FileNotFoundError(path)
        return _regular(fd, path)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class StoreSource:
    """The complete, public images of the store."""

    def __init__(self, report: Report, store: Store | None = None) -> None:
        self._store = store or Store()
        self._report = report
        self._files = _Files()
        #: the fingerprint of each fetched image, by the hashes of its files
        self._fetched: dict[str, str] = {}
        #: the time of the last recorded use of an image, by its fingerprint
        self._used: dict[str, float] = {}

    def stamp(self) -> object:
        return _identity(os.stat(os.path.join(self._store.path, "images.db")))

    def load(self) -> Listing:
        stored = [image for image in self._store.images() if image.public and image.complete]
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
        """Record, at most once an hour, that a fetched image is in use, so that it does not expire."""
        now = time.monotonic()
        if now - self._used.get(fingerprint, -_USE) >= _USE:
            self._used[fingerprint] = now
            with suppress(TemplaterError):  # another process can delete the image, or lock the store for long
                self._store.use(fingerprint)


class FilesSource:
    """Image files. A metadata tarball must be followed by the root filesystem of its split image."""

    def __init__(
        self, paths: Sequence[str], aliases: Sequence[str], report: Report, limits: Limits = DEFAULT
    ) -> None:
        images = []
        rest = list(paths)
        while rest:
            images.append(_read_image(rest, limits))
        if aliases and len(images) != 1:
            raise UsageError("--alias needs exactly one image")
        images = [replace(image, aliases=(*image.aliases, *aliases)) for image in images]
        self._listing, self._files = listing_of(images, report)

    def stamp(self) -> object:
        return None

    def load(self) -> Listing:
        return self._listing

    def open(self, path: str, /) -> int:
        return self._files.open(path)


def _read_image(rest: list[str], limits: Limits) -> LocalImage:
    """Remove the first image's files from ``rest``, and describe the image."""
    first = rest.pop(0)
    found = describe(first, limits=limits)
    if found.layout in ("directory", "instance"):
        raise UsageError(
            f"'{first}' is a directory",
            hint=f"pack the directory first: templater image build {first} -o FILE",
        )
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


def listing_of(images: Sequence[LocalImage], report: Report) -> tuple[Listing, _Files]:
    """Return the list of the images, with a generated stream, and their files.

    Images with unreadable files are omitted. The stream also omits images that clients would misread.
    """
    files = _Files()
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
    documents = {path: b"".join(dump_products(value)) for path, value in catalog.files.items()}
    for path, value in catalog.files.items():
        catalog.index["index"]["images"] = {
            "datatype": "image-downloads", "format": "products:1.0", "path": path,
            "products": sorted(value["products"]),
        }  # fmt: skip
    documents[INDEX_PATH] = dump(catalog.index)
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
    if not roots:
        new.fingerprints[""] = image.fingerprint
    missing = [name for name in ("os", "release") if not properties.get(name, "").strip()]
    if missing or image.facts.creation_date <= 0:
        return f"the image has no {missing[0] if missing else 'creation_date'}"
    try:
        added = insert(catalog, new, unified=not roots)
    except KeyError:
        return f"unknown architecture '{printable(image.facts.architecture)}'"
    except TemplaterError as error:
        return error.message
    _set_aliases(catalog, added, image.aliases)
    return ""


def _set_aliases(catalog: Catalog, added: Added, aliases: Sequence[str]) -> None:
    """Give the product exactly the aliases of the images in its newest version.

    The caller must add the newest version last.
    """
    products: dict[str, dict[str, Any]] = {name: product for _, name, product in catalog.products()}
    product = products[added.product]
    items = product["versions"][added.version]["items"]
    several = sum(name in ROOT_KINDS for name in items) > 1
    before = product["aliases"].split(",") if several else []
    product["aliases"] = ",".join(dict.fromkeys((*before, *aliases)))
