"""A products file as templater writes it: one product per line, so that a diff shows only changed products.

Writing parses only the needed products, and copies the lines of all other products.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from io import BytesIO
from typing import IO, Any

from ..model.source import printable
from .catalog_decoder import decode_json
from .product_line_pattern import PlainProduct, read_plain

_FIRST, _LAST = b'"products":{\n', b"}}\n"
_ENCODER = json.JSONEncoder(separators=(",", ":"), sort_keys=True)
Product = dict[str, Any]


def ignore(name: str, product: Any) -> None:
    """Do nothing. This is the default for ``visit``."""


class ProductLines(MutableMapping[str, Product]):
    """The products of a file with the content ``data``.

    When the file is written, a product that was looked up is encoded again, because it may have changed.

    ``document`` has all values of the file except the products. ``visit`` is called once with the name of
    each product, and with its value or a ``PlainProduct``. Raises ValueError if the file does not have the
    form that templater writes.
    """

    def __init__(self, data: bytes, visit: Callable[[str, Any], None] = ignore) -> None:
        self._data = data
        #: offset and length of the text of each product, by name
        self._places: dict[str, tuple[int, int]] = {}
        self._products: dict[str, Product] = {}
        #: the products whose text has JSON escapes, which can spell the same word differently
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

    def loaded(self) -> Mapping[str, Product]:
        """Return the products that were looked up or added."""
        return self._products

    def read(self) -> Iterator[tuple[str, Product]]:
        """Yield the names and products. The caller must not change a product."""
        for name in self:
            yield name, self._products[name] if name in self._products else _parse(self.text(name))[1]

    # a mapping

    def __getitem__(self, name: str) -> Product:
        if name not in self._products:
            self._products[name] = _parse(self.text(name))[1]
        return self._products[name]

    def __setitem__(self, name: str, product: Product) -> None:
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
    """Return a dict and an iterator over the products.

    The dict has all values of a products file except the products. The iterator yields each product with its
    name, and with the offset and length of its text. The function or the iterator raises ValueError if the
    file does not have one product per line, sorted by name.
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


def _text(name: str, product: Product) -> bytes:
    return f"{_ENCODER.encode(name)}:{_ENCODER.encode(product)}".encode()
