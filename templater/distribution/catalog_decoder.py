"""simplestreams catalogs: bounded JSON, decoded by the rules of Go's clients.

Incus and LXD decode catalogs with Go's JSON package, which has these rules:

* If a value has a wrong type, decoding fails, and the client lists no images.
* Unknown keys and the case of keys are ignored. null counts as missing.
* If a key is repeated, the last string, number or boolean wins.
* Objects of a repeated key are merged. templater refuses such a catalog.
"""

from __future__ import annotations

import gc
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import IO, Any, NamedTuple

from ..model.errors import InputError, LimitError
from ..model.unprintable_characters import printable, whole_characters

#: clients whose behaviour templater predicts; each name stands for releases that behave alike
CLIENTS = ("incus-6.0", "incus-7", "lxd")

INDEX_PATH = "streams/v1/index.json"
IMAGES_PATH = "streams/v1/images.json"
DOWNLOADS = "image-downloads"

#: size limit of a catalog file: 20,000 images for Incus and LXD need 24 MB
MOST_BYTES = 32 << 20
#: Limit on the JSON values of a file. Each value takes up to a hundred bytes of memory. An object counts as
#: four values. null counts as four values, too, because it can stand for an empty object.
#: templater estimates the number of values: it counts the characters ``,:[{``, because nearly every value
#: follows one of them.
MOST_VALUES = 2_000_000
#: Limit on items of a version. A version usually has about ten items.
#: Clients combine every metadata item with every root filesystem.
MOST_ITEMS = 200
#: limits in characters on a path, and on every other name and text except aliases
MOST_PATH, MOST_TEXT = 4096, 512
#: limits on the requirements of a product, on the aliases of all products, and on the characters in aliases
MOST_REQUIREMENTS, MOST_ALIASES, MOST_ALIAS_TEXT = 20, 200_000, 4 << 20
#: maximum number of keys with capital letters, and of values of a wrong type for the same clients, in memory
_MOST_KEPT = 1000
_EMPTY: Mapping[str, Any] = MappingProxyType({})
#: The place of a value: either the path of the value's file, or the kind and name of each object around the
#: value. Messages convert a place to a text.
Place = tuple[str, ...]


class Item(NamedTuple):
    """One file of a version. ``combined`` maps the catalog's ``combined_…`` keys to fingerprints."""

    ftype: str = ""
    path: str = ""
    size: int = 0
    sha256: str = ""
    combined: Mapping[str, str] = _EMPTY
    combined_type: str = ""
    delta_base: str = ""


class Version(NamedTuple):
    name: str
    label: str = ""
    items: Mapping[str, Item] = _EMPTY


@dataclass(frozen=True, slots=True)
class Product:
    """A product. If ``lxd_requirements`` is None (missing), LXD uses ``requirements``."""

    name: str
    aliases: str = ""
    arch: str = ""
    os: str = ""
    release: str = ""
    version: str = ""
    variant: str = ""
    release_title: str = ""
    support_eol: str = ""
    requirements: Mapping[str, str] = field(default_factory=dict)
    lxd_requirements: Mapping[str, str] | None = None
    versions: Mapping[str, Version] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """An entry of the index, which names a products file."""

    name: str
    datatype: str = ""
    path: str = ""
    products: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A value of a wrong type. ``clients`` names the clients that fail to decode this value."""

    place: str
    message: str
    clients: tuple[str, ...] = CLIENTS


@dataclass(slots=True)
class Decoded:
    """Problems found while decoding.

    ``odd_keys`` lists the keys that are not in lower case, with their places. Go accepts such keys.
    """

    mismatches: list[Mismatch] = field(default_factory=list)
    odd_keys: list[str] = field(default_factory=list)
    _found: Counter[tuple[str, ...]] = field(default_factory=Counter)
    _aliases: int = 0
    _alias_text: int = 0

    def add_mismatch(
        self, place: Place, key: str, value: Any, wanted: str, clients: tuple[str, ...] = CLIENTS
    ) -> None:
        self._found[clients] += 1
        if self._found[clients] <= _MOST_KEPT:
            self.mismatches.append(_mismatch(_describe(place, key), value, wanted, clients))

    def add_odd_key(self, place: Place, key: str) -> None:
        if len(self.odd_keys) < _MOST_KEPT:
            self.odd_keys.append(_describe(place, key))

    def count_aliases(self, names: str) -> None:
        self._aliases += names.count(",") + 1
        if self._aliases > MOST_ALIASES:
            raise LimitError(f"the catalog has more than {MOST_ALIASES} aliases")
        self._alias_text += len(names)
        if self._alias_text > MOST_ALIAS_TEXT:
            raise LimitError(
                f"the aliases of the catalog have more than {MOST_ALIAS_TEXT} characters in total"
            )


#: limits on all files of one catalog together, and on the entries of an index (Ubuntu's index has four)
MOST_BYTES_OF_ALL = 2 * MOST_BYTES
MOST_VALUES_OF_ALL = 2 * MOST_VALUES
_VALUES_OF_OBJECT = 4
#: Characters above U+FFFF, such as emojis. If a text has one, Python needs four bytes for every character of
#: this text.
_WIDE = re.compile(rb"[\xf0-\xf7]|\\u[dD][89aAbB]")
MOST_FILES = 200
_PIECE = 1 << 20


# JSON


def parse_json(data: bytes, name: str, repeated: list[tuple[str, str]] | None = None) -> Any:
    """Parse a catalog file.

    Raises InputError for invalid JSON and for repeated keys, and LimitError for a file that is too large.

    If ``repeated`` is given, a key may be repeated with scalar values of one type. As in Go, the last value
    is used. The file's name and the key are added to ``repeated``.
    """
    if not data:
        raise InputError(f"'{printable(name)}' is empty")
    if len(data) > MOST_BYTES:
        raise LimitError(f"'{printable(name)}' has more than {MOST_BYTES >> 20} MiB")
    _refuse_values(count_values(data), name)
    collecting = gc.isenabled()
    gc.disable()  # parsing creates no garbage, so collecting would only take time
    try:
        keys = None if repeated is None else list[str]()
        value = decode_json(data.decode("utf-8", "replace"), keys)
        if repeated is not None:
            repeated += [(name, key) for key in keys or ()]
        return value
    except RecursionError:
        raise InputError(f"'{printable(name)}' is nested too deeply") from None
    except RepeatedKeyError as error:
        raise CombinedError(f"'{printable(name)}': {error}") from None
    except ValueError as error:
        raise InputError(f"'{printable(name)}' is not valid JSON: {_lower(str(error))}") from None
    finally:
        if collecting:
            gc.enable()


class RepeatedKeyError(ValueError):
    """The error for a key that occurs twice in an object."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key '{printable(key[:_SHOWN])}' occurs twice in an object")


class CombinedError(InputError):
    """The error for keys that are equal, or differ only in case: clients would combine their values."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="the clients of Incus and LXD would combine both values")


#: maximum number of characters of a key in a message
_SHOWN = 80


def decode_json(text: str, repeated: list[str] | None = None) -> Any:
    """Decode a JSON text of a server. Raises ValueError for invalid JSON and for repeated keys.

    If ``repeated`` is given, accept the same repeated keys as ``parse_json``, and add the keys to the list.
    """
    if text.startswith("\ufeff"):
        raise json.JSONDecodeError("Unexpected UTF-8 BOM (decode using utf-8-sig)", text, 0)
    has_surrogates = "\\ud" in text or "\\uD" in text
    if repeated is None:
        return (_GO_DECODER if has_surrogates else _DECODER).decode(text)
    hook = partial(_object_as_in_go if has_surrogates else _object, repeated=repeated)
    return _decoder(hook).decode(text)


def _object(pairs: list[tuple[str, Any]], repeated: list[str] | None = None) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        if repeated is None:
            raise RepeatedKeyError(counts.most_common(1)[0][0])
        for key, value in pairs:
            # Here Go does not simply use the last value. It adds the keys of a second object to the first
            # object, ignores a second null, and fails if the first value has a wrong type.
            if counts[key] > 1 and (type(value) is not type(found[key]) or not isinstance(value, _SCALARS)):
                raise RepeatedKeyError(key)
        repeated += [printable(key[:_SHOWN]) for key in counts if counts[key] > 1][:_MOST_KEPT]
        del repeated[_MOST_KEPT:]
    return found


_SCALARS = (str, int, float)


def _object_as_in_go(pairs: list[tuple[str, Any]], repeated: list[str] | None = None) -> dict[str, Any]:
    """Return an object with these keys and values.

    Like Go's JSON package, replace each lone surrogate in a key with U+FFFD.
    """
    # If two keys are equal in Go, the keys are then also equal here.
    return _object([(whole_characters(key), value) for key, value in pairs], repeated)


def count_values(data: bytes) -> int:
    objects = data.count(b"{") + data.count(b"null")
    return len(data.translate(None, _NO_VALUE)) + (_VALUES_OF_OBJECT - 1) * objects


_NO_VALUE = bytes(set(range(256)) - set(b",:[{"))


def _decoder(hook: Callable[[list[tuple[str, Any]]], dict[str, Any]]) -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=refuse_constant, object_pairs_hook=hook)


class CatalogSize:
    """The size of all files of one catalog. Raises LimitError if the total size is too large.

    ``is_wide`` is True if a file has a character above U+FFFF.
    """

    def __init__(self) -> None:
        self.bytes = self.values = 0
        self.is_wide = False

    def add(self, file: IO[bytes], name: str) -> int:
        """Add a file to the total size of the catalog, and return the file's size in bytes."""
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        values, width = 0, 1
        for piece in iter(partial(file.read, _PIECE), b""):
            values += count_values(piece)
            if (b"\\u" in piece or not piece.isascii()) and _WIDE.search(piece):
                # Each byte of a file with such a character counts as four bytes.
                width, self.is_wide = 4, True
            del piece  # before the next piece is read
        wide = " (characters such as emojis lower the limit for a catalog)" if width > 1 else ""
        self.bytes += width * size
        for most, total in ((MOST_BYTES_OF_ALL, self.bytes), (MOST_BYTES, width * size)):
            if total > most:
                raise LimitError(f"the catalog has more than {most // width >> 20} MiB{wide}")
        _refuse_values(values, name)
        self.values += values
        if self.values > MOST_VALUES_OF_ALL:
            raise LimitError(f"the catalog has more than {MOST_VALUES_OF_ALL} values")
        file.seek(0)
        return size


def _refuse_values(values: int, name: str) -> None:
    if values > MOST_VALUES:
        raise LimitError(f"'{printable(name)}' has more than {MOST_VALUES} values")


def refuse_constant(word: str) -> None:
    raise ValueError(f"invalid value '{word}'")


_DECODER, _GO_DECODER = _decoder(_object), _decoder(_object_as_in_go)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def dump(value: Any) -> bytes:
    return (json.dumps(value, separators=(",", ":"), sort_keys=True) + "\n").encode()


# decoding

_TYPE_NAMES = {
    dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number",
}  # fmt: skip
_KINDS: dict[str, type] = {"string": str, "bool": bool, "integer": int, "object": dict, "list": list}

_INDEX = {"format": "string", "updated": "string", "index": "object"}
_ENTRY = {
    "datatype": "string", "path": "string", "updated": "string", "products": "list", "format": "string",
}  # fmt: skip
_TOP = {
    "content_id": "string", "datatype": "string", "format": "string", "license": "string",
    "updated": "string", "products": "object",
}  # fmt: skip
_PRODUCT = {
    "aliases": "string", "arch": "string", "os": "string", "release": "string", "version": "string",
    "variant": "string", "release_title": "string", "release_codename": "string", "support_eol": "string",
    "supported": "bool", "requirements": "object", "lxd_requirements": "object", "versions": "object",
}  # fmt: skip
_VERSION = {"items": "object", "label": "string", "pubname": "string"}
COMBINED = (
    "combined_squashfs_sha256", "combined_rootxz_sha256", "combined_sha256", "combined_disk-kvm-img_sha256",
    "combined_disk1-img_sha256", "combined_uefi1-img_sha256",
)  # fmt: skip
_ITEM = {
    "ftype": "string", "path": "string", "size": "integer", "sha256": "string", "md5": "string",
    **dict.fromkeys(COMBINED, "string"), "combined_type": "string", "delta_base": "string",
}  # fmt: skip
#: fields that only some clients decode; other clients ignore even a value of a wrong type
_FIELD_CLIENTS = {"lxd_requirements": ("lxd",), "combined_type": ("incus-7",)}


def decode_index(raw: Any, decoded: Decoded) -> list[IndexEntry]:
    entries = []
    index = _fields(raw, _INDEX, ("index.json",), decoded).get("index") or {}
    refuse_many_entries(index)
    for name, value in index.items():
        place = _place((), "index entry", name)
        fields = _fields(value, _ENTRY, place, decoded)
        products = fields.get("products") or []
        for product in products:
            if product is not None and type(product) is not str:
                decoded.add_mismatch(place, "products", product, "string")
        names = tuple("" if each is None else each for each in products if isinstance(each, str | None))
        entries.append(IndexEntry(name, fields.get("datatype", ""), fields.get("path", ""), names))
    return entries


def refuse_many_entries(index: Mapping[str, Any]) -> None:
    if len(index) > MOST_FILES:
        raise LimitError(f"the index has more than {MOST_FILES} entries")


def decode_products(raw: Any, path: str, decoded: Decoded) -> Iterator[Product]:
    for name, value in (_fields(raw, _TOP, (path,), decoded).get("products") or {}).items():
        yield decode_product(name, value, decoded)


def decode_product(name: str, raw: Any, decoded: Decoded) -> Product:
    place = _place((), "product", name)
    fields = _fields(raw, _PRODUCT, place, decoded)
    fields.pop("supported", None)
    fields.pop("release_codename", None)
    for key in ("requirements", "lxd_requirements"):
        if key in fields:
            clients = _FIELD_CLIENTS.get(key, CLIENTS)
            fields[key] = _strings(fields[key], place, key, clients, decoded)
    versions = fields.pop("versions", {})
    return Product(
        name,
        versions={key: _version(key, value, place, decoded) for key, value in versions.items()},
        **fields,
    )


def _version(name: str, raw: Any, product: Place, decoded: Decoded) -> Version:
    place = _place(product, "version", name)
    fields = _fields(raw, _VERSION, place, decoded)
    items = fields.get("items", {})
    if len(items) > MOST_ITEMS:
        raise LimitError(f"{_describe(place)} has more than {MOST_ITEMS} items")
    return Version(
        name,
        fields.get("label", ""),
        {key: _item(value, _place(place, "item", key), decoded) for key, value in items.items()},
    )


def _item(raw: Any, place: Place, decoded: Decoded) -> Item:
    fields = _fields(raw, _ITEM, place, decoded)
    return Item(
        fields.get("ftype", ""),
        fields.get("path", ""),
        fields.get("size", 0),
        fields.get("sha256", ""),
        {key: fields[key] for key in fields if key in _COMBINED_SET},
        fields.get("combined_type", ""),
        fields.get("delta_base", ""),
    )


_COMBINED_SET = frozenset(COMBINED)


def _fields(raw: Any, spec: Mapping[str, str], place: Place, decoded: Decoded) -> dict[str, Any]:
    """Return the known fields of an object. If several keys differ only in case, use the last key.

    Raises CombinedError if the values of these keys are objects or lists, because Go would combine them.
    """
    if raw is None:
        return {}
    if type(raw) is not dict:
        decoded.add_mismatch(place, "", raw, "object")
        return {}
    fields = {}
    odd = set()
    for key, value in raw.items():
        kind = spec.get(key)
        if kind == "string" and type(value) is str and len(value) <= MOST_TEXT and key != "aliases":
            fields[key] = value  # nearly every value
            continue
        if kind is None:
            folded = key.casefold()
            kind = spec.get(folded)
            if kind is None:
                continue
            if kind in ("object", "list") and (folded in raw or folded in odd):
                raise CombinedError(f"{_describe(place)} has the key '{printable(folded)}' twice")
            odd.add(folded)
            decoded.add_odd_key(place, key)
            key = folded
        if value is None:
            continue
        wanted = _KINDS[kind]
        if type(value) is not wanted or (type(value) is int and not -(1 << 63) <= value < 1 << 63):
            decoded.add_mismatch(place, key, value, kind, _FIELD_CLIENTS.get(key, CLIENTS))
            continue
        if key == "aliases":
            decoded.count_aliases(str(value))
        elif isinstance(value, str) and len(value) > MOST_TEXT:
            _refuse_long(value, place, key, MOST_PATH if key == "path" else MOST_TEXT)
        fields[key] = value
    return fields


def _strings(
    raw: Mapping[str, Any], place: Place, name: str, clients: tuple[str, ...], decoded: Decoded
) -> dict[str, str]:
    if len(raw) > MOST_REQUIREMENTS:
        raise LimitError(f"{_describe(place, name)} has more than {MOST_REQUIREMENTS} values")
    found = {}
    for key, value in raw.items():
        for text in (key, value):
            if isinstance(text, str):
                _refuse_long(text, place, name, MOST_TEXT)
        if value is None:
            found[key] = ""
        elif type(value) is str:
            found[key] = value
        else:
            decoded.add_mismatch(place, f"{name}.{key}", value, "string", clients)
    return found


def _place(outer: Place, kind: str, name: str) -> Place:
    if len(name) > MOST_TEXT:
        raise LimitError(
            f"the name of the {kind} '{printable(name[:40])}…' has more than {MOST_TEXT} characters"
        )
    return (*outer, kind, name)


def _describe(place: Place, key: str = "") -> str:
    names = [f"{kind} '{printable(name)}'" for kind, name in zip(place[::2], place[1::2], strict=False)]
    return ", ".join(names or place) + (f": {printable(key)}" if key else "")


def _refuse_long(text: str, place: Place, key: str, most: int) -> None:
    if len(text) > most:
        raise LimitError(f"{_describe(place, key)} has more than {most} characters")


def _mismatch(place: str, value: Any, wanted: str, clients: tuple[str, ...]) -> Mismatch:
    article = "an" if wanted[0] in "aio" else "a"
    shown = printable(json.dumps(value)[:40])
    if type(value) in (int, float) and wanted == "integer":
        return Mismatch(place, f"{shown} is not a 64-bit integer", clients)
    return Mismatch(place, f"{shown} is {_TYPE_NAMES[type(value)]}, not {article} {wanted}", clients)
