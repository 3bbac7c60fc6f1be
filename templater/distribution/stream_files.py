"""The JSON files of a stream.

A products file with one product per line, as templater writes it, is decoded product by product.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import IO, Any

from ..model.source import printable
from .catalog_decoder import (
    INDEX_PATH,
    MOST_BYTES,
    CatalogSize,
    Decoded,
    Product,
    decode_product,
    decode_products,
    parse_json,
)
from .product_lines import read_lines
from .verify_report import shown


def cache_problem(path: str, basenames: dict[str, str]) -> str:
    """Return why clients may read another file instead of a products file, or an empty text.

    Clients cache each catalog file by its base name. Of two files with one base name, they read the file that
    they request first, which is a random one. ``basenames`` maps the base name of each earlier file to its
    path.
    """
    name = posixpath.basename(path)
    if name != posixpath.basename(INDEX_PATH) and basenames.setdefault(name, path) == path:
        return ""
    return f"clients cache files by base name, and two files are named '{shown(name)}'"


class ProductsFile:
    """The decoded products of a file. ``read`` can be called repeatedly."""

    def __init__(self, raw: Any, place: str, decoded: Decoded) -> None:
        self._products = list(decode_products(raw, place, decoded))

    def names(self) -> Iterator[str]:
        return (product.name for product in self._products)

    def read(self, decoded: Decoded) -> Iterator[Product]:
        """Yield the products. Add new decoding problems to ``decoded``."""
        return iter(self._products)


class LinesFile(ProductsFile):
    """A products file with one product per line. The file is decoded at each read.

    Raises ValueError if the file does not have this form.
    """

    def __init__(self, file: IO[bytes], place: str) -> None:
        self._file, self._place = file, place
        for _ in self.names():
            pass

    def names(self) -> Iterator[str]:
        self._file.seek(0)
        return (name for name, *_ in read_lines(self._file)[1])

    def read(self, decoded: Decoded) -> Iterator[Product]:
        self._file.seek(0)
        document, lines = read_lines(self._file)
        yield from decode_products({**document, "products": {}}, self._place, decoded)
        for name, raw, *_ in lines:
            yield decode_product(name, raw, decoded)


class CatalogFiles:
    """The catalog of one stream. Each file is opened once, and the total size of all files is limited.

    All methods raise FileNotFoundError, InputError or LimitError. If ``repeated`` is given, ``parse_json``
    accepts certain repeated keys, and adds them to ``repeated``.
    """

    def __init__(
        self, open_file: Callable[[str], IO[bytes]], repeated: list[tuple[str, str]] | None = None
    ) -> None:
        self._open, self._repeated = open_file, repeated
        self._files: dict[str, ProductsFile] = {}
        self._size = CatalogSize()
        #: the size of the files that have been opened
        self.bytes = 0
        self._opened = ExitStack()

    def __enter__(self) -> CatalogFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def index(self) -> Any:
        file, size = self._open_counted(INDEX_PATH)
        return parse_json(file.read(size), INDEX_PATH, self._repeated)

    def products(self, path: str, decoded: Decoded, *, whole: bool = False) -> ProductsFile:
        """Open a products file. If ``whole`` is true, keep all its products in memory."""
        if path not in self._files:
            self._files[path] = self._read_products(path, decoded, whole)
        return self._files[path]

    def _read_products(self, path: str, decoded: Decoded, whole: bool) -> ProductsFile:
        place = f"'{printable(path)}'"
        file, size = self._open_counted(path)
        if not whole and size <= MOST_BYTES:
            file = self._opened.enter_context(private_copy(file, size))
            with suppress(ValueError, RecursionError):
                return LinesFile(file, place)
            file.seek(0)
        return ProductsFile(parse_json(file.read(size), path, self._repeated), place, decoded)

    def _open_counted(self, path: str) -> tuple[IO[bytes], int]:
        file = self._opened.enter_context(self._open(path))
        size = self._size.add(file, path)
        self.bytes += size
        return file, size


def private_copy(file: IO[bytes], size: int) -> IO[bytes]:
    """Return a copy of the first ``size`` bytes, which no other user can change."""
    from tempfile import TemporaryFile  # `streams add` needs no copy, and the import takes long

    copy = TemporaryFile()  # noqa: SIM115  # the caller closes it
    while part := file.read(min(size, 1 << 20)):
        copy.write(part)
        size -= len(part)
    copy.seek(0)
    return copy
