"""The JSON files of a stream, and templater's own form of products files: one product per line.

To change a products file in this form, templater parses only the products that it needs. A diff shows only
changed products.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, suppress
from functools import cache
from io import BytesIO
from types import TracebackType
from typing import IO, Any, NamedTuple

from ..model.unprintable_characters import printable
from .catalog_decoder import (
    COMBINED,
    INDEX_PATH,
    MOST_BYTES,
    MOST_TEXT,
    CatalogSize,
    Decoded,
    Product,
    decode_json,
    decode_product,
    decode_products,
    parse_json,
)
from .verify_report import shown

#: the lengths of a version's name, of the longest path of an image file, and of a fingerprint
VERSION_NAME, MOST_PATH, FINGERPRINT = 13, 91, 64
#: A pattern for the whole line of a product. In a long catalog, decoding every line would take most of the
#: time of `streams add`. Nearly all lines that `streams add` writes match the pattern. A matching line is
#: valid JSON without repeated keys, and clients accept each of its values.
#: The pattern allows at most 100 versions, because each version needs 4 KiB of memory. Incus and LXD must
#: have the same metadata file or unified image.
_LINE = r"""
    (?P<head>
        "(?P<name>TEXT)":\{"aliases":"(?P<aliases>LETTER*+)","arch":"(?P<arch>TEXT)","os":"TEXT",
        "release":"TEXT","release_title":"TEXT","variant":"(?!")TEXT","versions":
    )
    \{
    (?:
        "[0-9]{8}_[0-9]{4}":\{"items":\{
            (?:"disk-kvm\.img":\{"ftype":"disk-kvm\.img",FILE\},)?
            "incus(?P<ending>\.tar\.xz|_combined\.tar\.gz)":\{
                (?P<combined>COMBINED)"ftype":"incus(?P=ending)",(?P<file>FILE)\},
            "lxd(?P=ending)":\{
                (?P=combined)"ftype":"lxd(?P=ending)",(?P=file)\}
            (?:,"root\.tar\.xz":\{"ftype":"root\.tar\.xz",FILE\})?
            (?:,"squashfs":\{"ftype":"squashfs",FILE\})?
        \}\}
        (?:,(?=")|(?=\}))
    ){1,100}
    \}\}
"""
_PARTS = {
    "FILE": '"path":"images/[0-9a-f]{64}[.0-9a-z]{0,20}","sha256":"HASH","size":(?:0|[1-9][0-9]{0,15})',
    "COMBINED": "".join(f'(?:"{key}":"HASH",)?' for key in sorted(COMBINED)),
    "HASH": "[0-9a-f]{64}",
    "TEXT": f"LETTER{{0,{MOST_TEXT}}}+",
    "LETTER": r"[ !#-\[\]-~]",
}
_VERSION_NAMES = re.compile(rb'"([0-9]{8}_[0-9]{4})":')


class PlainProduct(NamedTuple):
    """Facts about a product, for comparison with the limits on catalogs. The numbers are upper bounds.

    * ``texts``: length of all texts except aliases
    * ``images``: number of images that one client lists or ignores
    * ``fingerprints``: number of fingerprints in the lists of all clients together
    """

    aliases: str
    arch: str
    texts: int
    images: int
    fingerprints: int


def read_plain(line: bytes) -> tuple[str, PlainProduct] | None:
    """Return the name and facts of the product in a line, or None if the decoder must parse the line."""
    found = _pattern().fullmatch(line)
    if found is None:
        return None
    start = found.end("head")
    versions = line.count(b'"items":', start)
    if versions > 1 and len(set(_VERSION_NAMES.findall(line, start))) < versions:
        return None
    # Each version has two items besides its root filesystems. A unified image has no root filesystem.
    roots = line.count(b'"path":', start) - 2 * versions
    unified = line.count(b'"incus_combined.tar.gz":', start)
    name, aliases, arch = (text.decode() for text in found.group("name", "aliases", "arch"))
    return name, PlainProduct(aliases, arch, start - len(aliases), roots + versions, roots + unified)


@cache
def _pattern() -> re.Pattern[bytes]:
    pattern = _LINE
    for name, part in _PARTS.items():
        pattern = pattern.replace(name, part)
    return re.compile(pattern.encode(), re.VERBOSE)


_FIRST, _LAST = b'"products":{\n', b"}}\n"
_ENCODER = json.JSONEncoder(separators=(",", ":"), sort_keys=True)
RawProduct = dict[str, Any]


def ignore(name: str, product: Any) -> None:
    """Do nothing. This function is the default for the parameter ``visit``."""


class ProductLines(MutableMapping[str, RawProduct]):
    """The products of a products file with the content ``data``.

    * Callers may change the products.
    * ``document`` has the other values of the file.
    * The constructor calls ``visit`` with each name, and with the product or its ``PlainProduct``.

    Raises ValueError if the file does not have the form that templater writes.
    """

    def __init__(self, data: bytes, visit: Callable[[str, Any], None] = ignore) -> None:
        self._data = data
        #: offset and length of the text of each product, by name
        self._places: dict[str, tuple[int, int]] = {}
        self._products: dict[str, RawProduct] = {}
        #: the products whose text has JSON escapes or other characters than ASCII; a search for words always
        #: includes these products, because the same word can have several spellings
        self._escaped: dict[str, None] = {}
        self.document, lines = read_lines(BytesIO(data), lambda text: read_plain(text) or _parse(text))
        for name, product, offset, length in lines:
            self._places[name] = offset, length
            if not isinstance(product, PlainProduct):
                self._check(name, product)
            visit(name, product)

    def _check(self, name: str, product: Any) -> None:
        if wrong_shape({name: product}) or not product.get("variant"):
            raise ValueError("another form")
        text = self.text(name)
        if b"\\" in text or not text.isascii():
            self._escaped[name] = None

    def text(self, name: str) -> bytes:
        """Return the line of a product, without comma and line feed."""
        if name in self._products:
            return _text(name, self._products[name])
        offset, length = self._places[name]
        return self._data[offset : offset + length]

    def containing(self, words: Collection[str]) -> list[str]:
        """Return the names of products whose text may contain one of the words.

        Products that were looked up before are always included.
        """
        encoded = (word.encode("utf-8", "replace") for word in words)
        wanted = [word for word in encoded if word in self._data]
        found = dict.fromkeys(self._products)
        for name in self._places if wanted else self._escaped:
            if name in self._escaped or any(word in self.text(name) for word in wanted):
                found[name] = None
        return list(found)

    def loaded(self) -> Mapping[str, RawProduct]:
        """Return the products that were looked up or added."""
        return self._products

    def read(self) -> Iterator[tuple[str, RawProduct]]:
        """Yield the names and products. The caller must not change a product."""
        for name in self:
            yield name, self._products[name] if name in self._products else _parse(self.text(name))[1]

    # a mapping

    def __getitem__(self, name: str) -> RawProduct:
        if name not in self._products:
            self._products[name] = _parse(self.text(name))[1]
        return self._products[name]

    def __setitem__(self, name: str, product: RawProduct) -> None:
        self._products[name] = product

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._products.pop(name, None)
        self._places.pop(name, None)
        self._escaped.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._places or name in self._products

    def __iter__(self) -> Iterator[str]:
        return iter(list({**self._places, **self._products}))

    def __len__(self) -> int:
        return len(self._places.keys() | self._products.keys())


def _parse(text: bytes) -> tuple[str, Any]:
    """Return the name and value of a line. Raises ValueError unless the line has exactly one value."""
    ((name, product),) = decode_json(f"{{{text.decode()}}}").items()
    return name, product


def read_lines(
    file: IO[bytes], parse: Callable[[bytes], tuple[str, Any]] = _parse
) -> tuple[dict[str, Any], Iterator[tuple[str, Any, int, int]]]:
    """Return all values of a products file except the products, and an iterator over the products.

    The iterator yields a name, the product, and the offset and length of its text. Function and iterator
    raise ValueError if the file does not have one product per line, sorted by name.
    """
    first = file.readline()
    text = first.removesuffix(_FIRST).removesuffix(b",") + b"}"
    document = decode_json(text.decode())
    if _first_line(document) != first:
        raise ValueError("unexpected first line")
    return document, _read_products(file, first, parse)


def _read_products(
    file: IO[bytes], first: bytes, parse: Callable[[bytes], tuple[str, Any]]
) -> Iterator[tuple[str, Any, int, int]]:
    offset, last, more = len(first), "", True
    for line in file:
        if line == _LAST and not more and not file.read(1):
            return
        text = line.removesuffix(b"\n").removesuffix(b",")
        name, product = parse(text)
        if not more or name <= last:
            break
        yield name, product, offset, len(text)
        offset, last, more = offset + len(line), name, line.endswith(b",\n")
    raise ValueError("another form")


def wrong_shape(products: Mapping[str, Any]) -> str:
    """Describe the first product or version with values of a wrong type. Return "" if all are valid."""
    for name, product in products.items():
        versions = product.get("versions", {}) if isinstance(product, dict) else None
        if not isinstance(versions, dict) or not isinstance(product.get("aliases") or "", str):
            return f"product '{printable(name)}' has values of a wrong type"
        for version, value in versions.items():
            items = value.get("items", {}) if isinstance(value, dict) else None
            if not isinstance(items, dict) or not all(isinstance(item, dict) for item in items.values()):
                return f"version '{printable(version)}' of '{printable(name)}' has values of a wrong type"
    return ""


# writing


def dump_products(document: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the lines of a products file, sorted by product."""
    yield _first_line({key: value for key, value in document.items() if key != "products"})
    products = document.get("products") or {}
    names = sorted(products)
    for name in names:
        text = products.text(name) if isinstance(products, ProductLines) else _text(name, products[name])
        yield text + (b",\n" if name is not names[-1] else b"\n")
    yield _LAST if names else b"\n" + _LAST


def _first_line(values: Mapping[str, Any]) -> bytes:
    head = _ENCODER.encode(values)[:-1].encode()
    return head + (b"," if values else b"") + _FIRST


def _text(name: str, product: RawProduct) -> bytes:
    return f"{_ENCODER.encode(name)}:{_ENCODER.encode(product)}".encode()


def cache_problem(path: str, basenames: dict[str, str]) -> str:
    """Return the reason why clients may confuse a products file with another file, or "".

    Add ``path`` to the dict ``basenames``, which maps base names to paths.
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
    """A products file with one product per line. Each call of ``read`` decodes the file again.

    Raises ValueError for any other file.
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
    """The catalog of one stream. It opens each file once, and limits their total size.

    The methods raise FileNotFoundError, InputError or LimitError. For the list ``repeated``, see
    ``parse_json``.
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
