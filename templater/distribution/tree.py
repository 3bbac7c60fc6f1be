"""A simplestreams tree on disk: plain files that any web server can serve, even during changes.

An image file is named by its content, and never overwritten. The catalog names a file only after the file is
on disk. The file stays after the catalog has dropped it, because clients cache a catalog for up to an hour.

JSON files are replaced atomically: first the products files, then the index.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO, FileIO
from typing import IO, Any

from ..image.atomic_output import Output
from ..image.open_file import whole_content
from ..model.counters_of_work import count_opened
from ..model.errors import BusyError, InputError, LimitError, RefusedError, WriteError, reason
from ..model.file_names import STATE_FOLDER
from ..model.unprintable_characters import printable
from ..rootfs.disk_sync import sync_all
from ..rootfs.trusted_paths import make_folder, open_file
from .catalog_decoder import (
    DOWNLOADS,
    INDEX_PATH,
    MOST_BYTES,
    CatalogSize,
    parse_json,
    refuse_many_entries,
)
from .products_by_line import ProductLines, ignore, wrong_shape
from .tree_catalog import Catalog, clean_path, new_index, objects

IMAGES = "images"
#: the folders of a tree that contain no image files
KEPT_FOLDERS = ("streams", STATE_FOLDER)
_DIRECTORIES = (IMAGES, "streams", "streams/v1", STATE_FOLDER)
_POLL = 0.02
_PIECE = 1 << 18
#: maximum number of files in the directory of images, and in the record of removed images
MOST_REMOVED = 250_000
#: maximum number of nested directories in a path, and maximum length of a path in a message
MOST_NESTED, _LONGEST = 20, 200
#: length of the hash in the names of image files
_HASH_LENGTH = 64


#: maximum attempts to find the real path of a file, because another process may replace the file each time
_ATTEMPTS = 100


def real_path(path: str) -> str:
    """Return the path without symlinks. Raises FileNotFoundError, or InputError for too many links."""
    if not hasattr(os, "O_PATH") or not os.path.isdir("/proc/self/fd"):
        return os.path.realpath(path)
    # The kernel resolves the path, because it follows at most 40 links. ``realpath`` follows any number of
    # links.
    for _ in range(_ATTEMPTS):
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                raise FileNotFoundError(error.errno, error.strerror, path) from None
            raise InputError(f"'{printable(path)}' can't be opened: {reason(error)}") from None
        try:
            real = os.readlink(f"/proc/self/fd/{fd}")
            # If another process replaced the file meanwhile, the kernel adds " (deleted)" to its path.
            if os.path.samestat(os.fstat(fd), os.lstat(real)):
                return real
        except OSError:  # replaced, or a path that is too long
            pass
        finally:
            os.close(fd)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def content_path(sha256: str, extension: str) -> str:
    return f"{IMAGES}/{sha256}{extension}"


def is_content_name(name: str) -> bool:
    stem = name.partition(".")[0]
    return len(stem) == _HASH_LENGTH and all(c in "0123456789abcdef" for c in stem)


def open_directory(path: str) -> int:
    """Open the directory of a tree. Raises OSError or RefusedError."""
    # As root, ``open_file`` refuses a symlink of another user, which could lead to a tree that belongs to
    # root.
    fd = open_file(path)
    if not stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    return fd


class Tree:
    def __init__(self, path: str, directory: int | None = None) -> None:
        """Store the arguments, and open no file yet.

        If ``directory`` is given, read that open directory instead of looking up ``path`` again.
        """
        self.path = path
        self._real_directories: dict[str, str] = {}
        #: The open directory of the tree, or None. If the directory is open, for example because the tree is
        #: locked, the tree's path must not be looked up again.
        self._directory = directory

    # reading

    def read(self, path: str, limit: int = MOST_BYTES) -> bytes:
        """Read a file below the tree. Raises FileNotFoundError, or InputError above ``limit`` bytes."""
        with self.file(path, limit) as file:
            return file.read(os.fstat(file.fileno()).st_size)

    def file(self, path: str, limit: int = MOST_BYTES) -> IO[bytes]:
        """Open a file below the tree. Raises FileNotFoundError, or InputError above ``limit`` bytes."""
        with self.open(path) as fd:
            size = os.fstat(fd).st_size
            if size > limit:
                raise InputError(f"'{printable(path)}' has {size} bytes, more than the limit of {limit}")
            return os.fdopen(os.dup(fd), "rb")

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[int]:
        """Open a regular file for reading. Raises RefusedError if a link leads out of the tree."""
        full = self.locate(path)
        directory, name = os.path.split(os.path.relpath(full, self._real_directories[self._base()]))
        try:
            with self.folder(directory) as folder:
                fd = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                raise FileNotFoundError(error.errno, error.strerror, full) from None
            raise InputError(f"'{printable(full)}' can't be opened: {reason(error)}") from None
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"'{printable(full)}' is not a regular file")
            count_opened(status)
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def folder(self, path: str) -> Iterator[str]:
        """Open a directory below the tree, and yield a path to the directory.

        Raises RefusedError if the path contains a symlink, and InputError for too many nested directories.
        """
        names = path.split("/") if path else []
        if len(names) > MOST_NESTED:
            raise InputError(
                f"'{printable(path[:_LONGEST])}' is a path of more than {MOST_NESTED} nested directories"
            )
        opened = [self._open_root()]
        try:
            for name in names:
                opened.append(self._open_folder(name, opened[-1], path))
            # On Linux, this path stays valid if another process moves directories.
            held = f"/proc/self/fd/{opened[-1]}"
            yield held if os.path.isdir(held) else os.path.join(self.path, path)
        finally:
            for fd in opened:
                os.close(fd)

    def _open_root(self) -> int:
        if self._directory is not None:
            # Another user could have replaced the tree's path by a symlink since the tree was locked.
            return os.dup(self._directory)
        return open_directory(self.path)

    def _open_folder(self, name: str, parent: int, path: str) -> int:
        # If another user owns the tree, this user could create a symlink that leads out of the tree.
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(name, flags, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                with contextlib.suppress(OSError):
                    if stat.S_ISLNK(os.lstat(name, dir_fd=parent).st_mode):
                        raise RefusedError(
                            f"'{printable(os.path.join(self.path, path))}' is reached through a symlink"
                        ) from None
            raise

    @contextlib.contextmanager
    def output(self, path: str) -> Iterator[Output]:
        """Yield an output file in a directory of the tree."""
        with self.folder(path) as folder, Output(folder, shown=os.path.join(self.path, path)) as output:
            yield output

    def size(self, path: str) -> int:
        with self.open(path) as fd:
            return os.fstat(fd).st_size

    @contextlib.contextmanager
    def pieces(self, path: str) -> Iterator[Iterator[bytes]]:
        """Open a file, and yield an iterator over the pieces of its content."""
        with self.open(path) as fd, FileIO(fd, closefd=False) as file:
            yield whole_content(file, path)

    def locate(self, path: str) -> str:
        """Return the real path of a file. Raises RefusedError if a symlink leads out of the tree."""
        cleaned = clean_path(path)
        if not cleaned:
            raise RefusedError(f"the path '{printable(path)}' leads out of the tree")
        base = self._base()
        full = os.path.join(base, cleaned)
        directory, name = os.path.split(full)
        for each in (base, directory):
            if each not in self._real_directories:
                self._real_directories[each] = real_path(each)
        root = self._real_directories[base]
        real = real_path(full) if os.path.islink(full) else f"{self._real_directories[directory]}/{name}"
        if not real.startswith(root.rstrip("/") + "/"):
            shown = printable(os.path.join(self.path, cleaned))
            raise RefusedError(f"'{shown}' leads out of the tree through a symlink")
        return real

    def _base(self) -> str:
        """Return a path to the tree. If the tree's directory is open, the path stays valid after a rename."""
        held = "" if self._directory is None else f"/proc/self/fd/{self._directory}"
        return held if os.path.isdir(held) else self.path

    def load(self, visit: Callable[[str, Any], None] = ignore) -> Catalog:
        """Read the whole catalog. Return an empty catalog for a tree without an index.

        ``visit`` is called with the name and value of each product.
        """
        size = CatalogSize()
        try:
            with self.file(INDEX_PATH) as file:
                index = parse_json(file.read(size.add(file, INDEX_PATH)), INDEX_PATH)
        except FileNotFoundError:
            return Catalog(new_index(), {})
        if not isinstance(index, dict) or not isinstance(index.setdefault("index", {}), dict):
            raise self._invalid(INDEX_PATH, "the file, or its key 'index', is not a JSON object")
        refuse_many_entries(index["index"])
        files: dict[str, dict[str, Any]] = {}
        for name, entry in objects(index["index"]):
            if entry.get("datatype") != DOWNLOADS:
                continue
            path = clean_path(entry.get("path"))
            if path in ("", INDEX_PATH):
                raise self._invalid(INDEX_PATH, f"the entry '{printable(name)}' has no valid path")
            if path not in files:
                files[path] = self._load_products(path, size, visit)
        return Catalog(index, files, size=size)

    def _load_products(
        self, path: str, size: CatalogSize, visit: Callable[[str, Any], None]
    ) -> dict[str, Any]:
        """Read a products file. If the file has one product per line, read it product by product."""
        try:
            data = self.read(path)
        except FileNotFoundError:
            raise self._invalid(path, "the file is missing, but the index names it") from None
        size.add(BytesIO(data), path)
        with contextlib.suppress(ValueError, RecursionError):
            lines = ProductLines(data, visit)
            return {**lines.document, "products": lines}
        document = parse_json(data, path)
        if not isinstance(document, dict) or not isinstance(document.setdefault("products", {}), dict):
            raise self._invalid(path, "the file, or its key 'products', is not a JSON object")
        if wrong := wrong_shape(document["products"]):
            raise self._invalid(path, wrong)
        for name, product in document["products"].items():
            visit(name, product)
        return document

    def _invalid(self, path: str, why: str) -> InputError:
        hint = f"templater streams verify {self.path}"
        return InputError(f"invalid catalog '{printable(os.path.join(self.path, path))}': {why}", hint=hint)

    # writing

    @contextlib.contextmanager
    def lock(self, wait: float = 60) -> Iterator[None]:
        """Lock the tree for writing. Raises BusyError after ``wait`` seconds. Readers need no lock."""
        fd, before = self._open_root(), self._directory
        try:
            until = time.monotonic() + wait
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= until:
                        hint = "wait until that process has finished"
                        raise BusyError(
                            f"'{self.path}' is being written by another process", hint=hint
                        ) from None
                    time.sleep(_POLL)
            self._directory = fd
            yield
        finally:
            self._directory = before
            os.close(fd)

    def create(self) -> None:
        """Create the tree's directories.

        Raises RefusedError if a symlink or a file has the name of a directory.
        """
        try:
            make_folder(self.path).close()
            for name in _DIRECTORIES:
                full = os.path.join(self.path, name)
                parent, own = os.path.split(name)
                with self.folder(parent) as folder:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(f"{folder}/{own}")
                    is_directory = stat.S_ISDIR(os.lstat(f"{folder}/{own}").st_mode)
                if not is_directory:
                    raise RefusedError(f"'{printable(full)}' is not a directory")
        except OSError as error:
            raise WriteError(f"can't create the tree '{printable(self.path)}': {reason(error)}") from error

    def check(self) -> None:
        """Raise InputError if the path is not a tree.

        Commands call this method before they change files below the path.
        """
        if not os.path.isdir(self.path):
            raise InputError(f"'{printable(self.path)}' is not a directory")
        if not os.path.lexists(os.path.join(self.path, INDEX_PATH)):
            hint = f"'{INDEX_PATH}' is missing; `templater streams add` creates a tree"
            raise InputError(f"'{printable(self.path)}' is not a simplestreams tree", hint=hint)
        self.create()

    def save(self, catalog: Catalog) -> None:
        """Write the changed products files, then the index if it has changed."""
        for path in sorted(catalog.changed):
            self.write_json(path, catalog.lines(path))
        self.write_json(INDEX_PATH, catalog.lines(INDEX_PATH))

    def write_json(self, path: str, lines: Iterable[bytes]) -> None:
        full = os.path.join(self.path, path)
        directory, name = os.path.split(path)
        with self.folder(directory) as folder, self.output(directory) as output:
            try:
                like: os.stat_result | None = os.lstat(f"{folder}/{name}")
            except FileNotFoundError:
                like = None
            if like is not None and not stat.S_ISREG(like.st_mode):
                raise RefusedError(f"'{printable(full)}' is not a regular file")
            for piece in _join(lines):
                output.write(piece)
            if like is not None and like.st_size == output.size:
                with self.open(path) as fd:
                    if hash_descriptor(fd) == output.sha256.hexdigest():
                        return
            output.publish(f"{folder}/{name}", replace=True, like=like)
        self._sync(directory)

    def publish(self, output: Output, path: str) -> None:
        """Move a staged image file to its path in the tree.

        Raises RefusedError if the path already has a file with other content.
        """
        full = os.path.join(self.path, path)
        directory, name = os.path.split(path)
        with self.folder(directory) as folder:
            if not os.path.lexists(f"{folder}/{name}"):
                output.publish(f"{folder}/{name}")
                return
        with self.open(path) as fd:  # another user's file can have a hole of any size
            digest = hash_descriptor(fd) if os.fstat(fd).st_size == output.size else ""
        if digest != output.sha256.hexdigest():
            raise RefusedError(
                f"'{printable(full)}' is damaged: its content does not match its name",
                hint="delete the file and run the command again",
            )

    def sync_images(self) -> None:
        self._sync(IMAGES)

    def _sync(self, path: str) -> None:
        full = os.path.join(self.path, path)
        try:
            with self.folder(path) as folder:
                fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    sync_all("write", {fd: full})
                finally:
                    os.close(fd)
        except OSError as error:
            raise WriteError(f"'{printable(full)}' can't be written: {reason(error)}") from error

    # removed files

    def unlink(self, path: str) -> int:
        """Delete an image file and return its size, or 0 if it is missing.

        Raises RefusedError for catalogs, templater's records, and paths that contain symlinks.
        """
        if path.partition("/")[0] in KEPT_FOLDERS:
            raise RefusedError(f"'{printable(path)}' is not an image file")
        full = os.path.join(self.path, path)
        directory, name = os.path.split(path)
        try:
            with self.folder(directory) as folder:
                status = os.lstat(f"{folder}/{name}")
                if not stat.S_ISREG(status.st_mode):
                    raise RefusedError(f"'{printable(full)}' is not a regular file")
                os.unlink(f"{folder}/{name}")
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise WriteError(f"'{printable(full)}' can't be deleted: {reason(error)}") from error
        return status.st_size

    def content_files(self) -> Iterator[str]:
        """Yield the path of each image file. Skip files with names that templater never gives."""
        with (
            contextlib.suppress(FileNotFoundError),
            self.folder(IMAGES) as folder,
            os.scandir(folder) as entries,
        ):
            for number, entry in enumerate(entries):
                if number >= MOST_REMOVED:
                    full = os.path.join(self.path, IMAGES)
                    raise LimitError(f"'{printable(full)}' has more than {MOST_REMOVED} files")
                if is_content_name(entry.name):
                    yield f"{IMAGES}/{entry.name}"


def _join(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of ``lines`` in larger pieces."""
    parts, size = [], 0
    for line in lines:
        parts.append(line)
        size += len(line)
        if size >= _PIECE:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join(parts)


def hash_descriptor(fd: int) -> str:
    import hashlib

    return hashlib.file_digest(os.fdopen(fd, "rb", closefd=False), "sha256").hexdigest()
