"""A simplestreams tree on disk as the source of served images. A server opens no file outside the tree."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from ..distribution.catalog_decoder import Product
from ..distribution.client_image_list import Image, client_aliases, list_images
from ..distribution.list_stream import read_products
from ..distribution.local_stream import LocalStream
from ..distribution.serve_limits import LISTED_CLIENTS, add_catalog_file
from ..distribution.tree import Tree, open_directory, real_path
from ..distribution.tree_catalog import clean_path
from ..image.open_file import close_with
from ..model.errors import InputError, RefusedError
from ..rootfs.regular_files import require_public
from .image_listing import Listing
from .served_image import File, Served

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class TreeSource:
    """A tree as a source of images.

    ``redirected`` has the prefixes of paths whose files are on other servers.

    The tree's directory is opened once and stays open. Otherwise, the owner of a directory above the tree
    could replace the tree by a symlink to ``/``.
    """

    def __init__(self, path: str, redirected: Iterable[str] = ()) -> None:
        self.path = path
        self._directory = open_directory(path)
        close_with(self, self._directory)
        self._redirected = tuple(redirected)
        #: the identity of each catalog file before it was read
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

    ``read`` has the path of each opened file, and the identity of the file before it was opened.
    """

    def __init__(self, tree: Tree, directory: int) -> None:
        super().__init__(tree)
        self.read: dict[str, tuple[int, ...]] = {}
        self._directory = directory
        self._bytes = 0

    def file(self, path: str, /) -> IO[bytes]:
        """Open a file. Raises LimitError for a large catalog: the old images are still in memory."""
        self.read.setdefault(path, _identity(self._directory, path))
        file = super().file(path)
        self._bytes = add_catalog_file(self._bytes, file)
        return file


def _identity(directory: int, path: str) -> tuple[int, ...]:
    try:
        status = os.stat(path, dir_fd=directory)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _from_tree(image: Image, named: set[tuple[object, str, str]], files: dict[int, File]) -> Served:
    """Return an image of a catalog with the properties that clients derive from the catalog.

    ``files`` maps ``id(item)`` of each catalog item to its file, because several images can share a file.
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
    if image.root is None and kind not in named:  # else another image of the product has its names
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
    """Open a regular file below an open directory. Follow symlinks, but never out of the directory.

    Raises FileNotFoundError for every path without a public file. For example, a file is not public if its
    name begins with a dot, or if the file is private and another user could have moved it to this place.
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
