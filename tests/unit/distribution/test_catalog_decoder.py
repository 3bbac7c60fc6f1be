"""Hostile and odd catalogs: one clear error, within bounds."""

import io
import json

import pytest

from templater.distribution import catalog_decoder as module
from templater.distribution import client_image_list
from templater.distribution.catalog_decoder import Decoded, decode_index, decode_products, parse_json
from templater.distribution.client_image_list import list_images
from templater.distribution.products_by_line import CatalogFiles, dump_products
from templater.distribution.tree_catalog import clean_path
from templater.model.errors import InputError, LimitError
from tests.streams.mutations import EXAMPLE, IMAGES


def decoded(document):
    found = Decoded()
    return list(decode_products(document, "images.json", found)), found.mismatches


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[1,]",
        b"\xef\xbb\xbf{}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b"[" * 100_000,
        b"9" * 10_000,
        b'"\0"',
    ],
    ids=["empty", "cut", "comma", "bom", "nan", "infinity", "deep", "digits", "nul"],
)
def test_json_gives_an_input_error_if_every_client_refuses_it(data):
    with pytest.raises(InputError):
        parse_json(data, "images.json")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"products": {"a": {}}, "products": {"b": {}}}', "products"),
        ('{"products": {"a": {}}, "pro\\u0064ucts": null}', "products"),
        ('[{"a": {"versions": {"1": {}, "2": {}, "1": {}}}}]', "1"),
        ('{"\\ud800": 1, "\\uDFFF": 2}', "\ufffd"),
        ('{"\\ud800": 1, "\ufffd": 2}', "\ufffd"),
    ],
)
def test_a_duplicate_key_is_refused_because_go_combines_its_values(text, key):
    with pytest.raises(InputError, match=f"^'images.json': the key '{key}' occurs twice in an object$"):
        parse_json(text.encode(), "images.json")


def test_invalid_keys_are_refused_if_go_merges_them():
    with pytest.raises(InputError, match="occurs twice"):
        parse_json(b'{"\xff": 1, "\xfe": 2}', "images.json")


@pytest.mark.parametrize(
    "keys", [("products", "Products"), ("Products", "products"), ("PRODUCTS", "Products")]
)
def test_differently_capitalised_keys_are_refused_if_go_merges_them(keys):
    with pytest.raises(InputError, match=r"^images.json has the key 'products' twice$"):
        decoded({keys[0]: {"a": {}}, keys[1]: {"b": {}}})
    with pytest.raises(InputError, match=r"^product 'a' has the key 'versions' twice$"):
        decoded({"products": {"a": {"versions": {}, "Versions": None}}})
    assert decoded({"products": {"a": {"os": "x", "OS": "y"}}})[0][0].os == "y"
    assert decoded({"products": {"a": {}, "A": {}}, "x": 1, "X": 2})[0][1].name == "A"


def test_only_a_catalog_above_the_size_limit_is_refused(monkeypatch):
    with pytest.raises(LimitError, match=r"^'images\.json' has more than 32 MiB$"):
        parse_json(b" " * (module.MOST_BYTES + 1), "images.json")
    monkeypatch.setattr(module, "MOST_BYTES", 2 << 20)
    data = b"{}" + b" " * ((2 << 20) - 2)
    assert parse_json(data, "images.json") == {}
    with pytest.raises(LimitError, match=r"^'images\.json' has more than 2 MiB$"):
        parse_json(data + b" ", "images.json")


def test_a_catalog_with_too_many_values_is_refused_early(monkeypatch):
    with pytest.raises(LimitError, match="values"):
        parse_json(b"[" + b"[]," * module.MOST_VALUES + b"[]]", "images.json")
    monkeypatch.setattr(module, "MOST_VALUES", 7)
    assert parse_json(b'{"a": [1, 2]}', "a") == {"a": [1, 2]}
    assert parse_json(b'[{"a": 1}, 2]', "a") == [{"a": 1}, 2]
    for data in (b"[[[[[[[[]]]]]]]]", b"[1,2,3,4,5,6,7,8]", b"[{},{}]", b"[null,null]"):
        with pytest.raises(LimitError, match=r"^'a' has more than 7 values$"):
            parse_json(data, "a")


def many_items(count):
    items = {str(number): {"ftype": "incus.tar.xz"} for number in range(count)}
    return {"products": {"a": {"versions": {"20260101": {"items": items}}}}}


def many_images(count):
    """One metadata file with one fingerprint, and root filesystems, each of which makes an image."""
    roots = {str(number): {"ftype": "squashfs", "path": str(number)} for number in range(count)}
    metadata = {"ftype": "incus.tar.xz", "path": "meta", "combined_squashfs_sha256": "0"}
    versions = {"20260101": {"items": {**roots, "meta": metadata}}}
    return {"products": {"a": {"arch": "amd64", "versions": versions}}}


@pytest.mark.parametrize(
    ("where", "name", "most", "read", "said"),
    [
        (
            module, "MOST_FILES", 200, lambda n: decode_index({"index": dict.fromkeys(map(str, range(n)))}, Decoded()),
            "the index has more than {} entries",
        ),
        (
            module, "MOST_ITEMS", None, lambda n: decoded(many_items(n)),
            "product 'a', version '20260101' has more than {} items",
        ),
        (
            client_image_list, "MOST_IMAGES", 3, lambda n: list_images(decoded(many_images(n))[0], "incus-7"),
            "the stream has more than {} images",
        ),
        (
            client_image_list, "MOST_OF_A_VERSION", 3, lambda n: list_images(decoded(many_images(n))[0], "incus-7"),
            "version '20260101' of product 'a' has more than {} images",
        ),
    ],
    ids=["files", "items", "images", "images of a version"],
)  # fmt: skip
def test_only_a_catalog_above_a_limit_is_refused(monkeypatch, where, name, most, read, said):
    if most is not None:
        monkeypatch.setattr(where, name, most)
    limit = getattr(where, name)
    read(limit)
    with pytest.raises(LimitError) as refused:
        read(limit + 1)
    assert refused.value.message == said.format(limit)


FULL = {
    "meta": {"ftype": "incus.tar.xz", "path": "m", "combined_squashfs_sha256": "c" * 64},
    "root": {"ftype": "squashfs", "path": "r"},
}


@pytest.mark.parametrize(
    ("version", "items", "arch", "code", "reason"),
    [
        ("20260101", FULL, "vax", "architecture", "unknown architecture 'vax'"),
        ("2026010", FULL, "amd64", "version-name", "version name '2026010' does not begin with a date (YYYYMMDD)"),
        ("20260230", FULL, "amd64", "version-name", "version name '20260230' does not begin with a date (YYYYMMDD)"),
        ("20260101", {}, "amd64", "no-metadata", "no metadata item"),
        ("20260101", {"meta": FULL["meta"]}, "amd64", "no-root", "metadata without a root filesystem"),
        (
            "20260101", {"m": {"ftype": "lxd.tar.xz"}}, "amd64", "other-family",
            "no item of ftype 'incus.tar.xz' or 'incus_combined.tar.gz'",
        ),
        (
            "20260101", {"m": {"ftype": "lxd_combined.tar.gz"}}, "amd64", "other-family",
            "no item of ftype 'incus.tar.xz' or 'incus_combined.tar.gz'",
        ),
        (
            "20260101", {**FULL, "meta": {"ftype": "incus.tar.xz", "path": "m"}}, "amd64", "no-fingerprint",
            "'squashfs' has no fingerprint: the metadata item lacks 'combined_squashfs_sha256'",
        ),
        (
            "20260101", {**FULL, "meta": {**FULL["meta"], "path": ""}}, "amd64", "no-path",
            "the metadata item has no path",
        ),
        (
            "20260101", {"u": {"ftype": "incus_combined.tar.gz", "path": "u"}}, "amd64", "no-fingerprint",
            "the unified image has no fingerprint: its item lacks 'sha256'",
        ),
        (
            "20260101", {"u": {"ftype": "incus_combined.tar.gz", "sha256": "c" * 64}}, "amd64", "no-path",
            "the unified image has no path",
        ),
    ],
)  # fmt: skip
def test_the_reason_why_a_client_drops_an_entry_is_reported(version, items, arch, code, reason):
    products, _ = decoded({"products": {"p": {"arch": arch, "versions": {version: {"items": items}}}}})
    images, dropped = list_images(products, "incus-7")
    assert not images
    assert [(each.product, each.code, each.reason) for each in dropped] == [("p", code, reason)]
    assert dropped[0].version == ("" if code == "architecture" else version)


@pytest.mark.parametrize(
    ("ftype", "combined_type", "client", "type"),
    [
        ("incus_combined.tar.gz", "virtual-machine", "incus-7", "virtual-machine"),
        ("incus_combined.tar.gz", "", "incus-7", "container"),
        ("incus_combined.tar.gz", "virtual-machine", "incus-6.0", "container"),
        ("lxd_combined.tar.gz", "virtual-machine", "lxd", "container"),
    ],
)
def test_only_newer_incus_clients_read_the_type_of_a_unified_image(ftype, combined_type, client, type):
    item = {"ftype": ftype, "path": "u", "sha256": "c" * 64, "combined_type": combined_type}
    versions = {"20260101": {"items": {"u": item}}}
    products, _ = decoded({"products": {"p": {"arch": "amd64", "versions": versions}}})
    (image,) = list_images(products, client)[0]
    assert (image.type, image.fingerprint, image.root) == (type, "c" * 64, None)


def test_a_numeric_product_name_in_an_index_entry_breaks_every_client():
    found = Decoded()
    (entry,) = decode_index({"index": {"e": {"products": ["a", 1, None]}}}, found)
    assert entry.products == ("a", "")
    (mismatch,) = found.mismatches
    assert (mismatch.place, mismatch.clients) == ("index entry 'e': products", module.CLIENTS)


@pytest.mark.parametrize("field", ["format", "updated"])
def test_a_number_instead_of_text_breaks_every_client(field):
    found = Decoded()
    assert decode_index({field: 5, "index": {}}, found) == []
    (mismatch,) = found.mismatches
    assert (mismatch.clients, field in f"{mismatch.place}{mismatch.message}") == (module.CLIENTS, True)


LONG = "x" * 512


def item(**fields):
    return {"p": {"arch": "amd64", "versions": {"20260101": {"items": {"i": fields}}}}}


@pytest.mark.parametrize(
    ("products", "said"),
    [
        ({LONG: {}}, f"the name of the product '{'x' * 40}…' has more than 512 characters"),
        ({"p": {"versions": {LONG: {}}}}, f"the name of the version '{'x' * 40}…' has more than 512 characters"),
        ({"p": {"versions": {"v": {"items": {LONG: {}}}}}}, f"the name of the item '{'x' * 40}…' has more than 512 characters"),
        ({"p": {"os": LONG}}, "product 'p': os has more than 512 characters"),
        (item(ftype=LONG), "product 'p', version '20260101', item 'i': ftype has more than 512 characters"),
        (item(path=8 * LONG), "product 'p', version '20260101', item 'i': path has more than 4096 characters"),
        ({"p": {"requirements": {LONG: ""}}}, "product 'p': requirements has more than 512 characters"),
        ({"p": {"requirements": {"a": LONG}}}, "product 'p': requirements has more than 512 characters"),
    ],
)  # fmt: skip
def test_a_long_text_in_a_catalog_is_refused(products, said):
    assert decoded({"products": products})[1] == []
    longer = json.loads(json.dumps(products).replace("x" * 512, "x" * 513))
    with pytest.raises(LimitError) as caught:
        decoded({"products": longer})
    assert caught.value.message == said


def test_the_number_of_aliases_in_a_catalog_is_limited(monkeypatch):
    monkeypatch.setattr(module, "MOST_ALIASES", 4)
    products = {"a": {"aliases": "a,b"}, "b": {"aliases": "c,d"}}
    assert len(decoded({"products": products})[0]) == 2
    with pytest.raises(LimitError, match=r"^the catalog has more than 4 aliases$"):
        decoded({"products": {**products, "c": {"aliases": "e"}}})


def test_the_number_of_requirements_of_a_product_is_limited():
    fields = {str(number): "" for number in range(20)}
    assert len(decoded({"products": {"p": {"requirements": fields}}})[0]) == 1
    with pytest.raises(LimitError, match=r"^product 'p': requirements has more than 20 values$"):
        decoded({"products": {"p": {"requirements": {**fields, "20": ""}}}})


def test_each_client_group_has_at_most_1000_wrong_values():
    products = {str(number): {"os": 1, "OS": "x"} for number in range(1100)}
    found = Decoded()
    list(decode_products({"products": {**products, "p": {"lxd_requirements": 1}}}, "", found))
    assert len(found.odd_keys) == 1000
    assert [each.clients for each in found.mismatches] == [module.CLIENTS] * 1000 + [("lxd",)]


class Versions(dict):
    """The versions of a product; ``read`` counts those that were read."""

    read = 0

    def values(self):
        for version in super().values():
            self.read += 1
            yield version


def test_the_image_listing_stops_at_the_limit_before_reading_all_versions(monkeypatch):
    monkeypatch.setattr(client_image_list, "MOST_IMAGES", 10)
    versions = Versions({str(number): module.Version(str(number)) for number in range(100)})
    with pytest.raises(LimitError, match=r"^the stream has more than 10 images$"):
        list_images([module.Product("p", arch="amd64", versions=versions)], "incus-7")
    assert versions.read <= 12


def test_product_texts_are_counted_once_for_each_image(monkeypatch):
    monkeypatch.setattr(client_image_list, "MOST_TEXTS", 1000)
    products, _ = decoded(
        {"products": {"p": {"os": "x" * 99, "versions": {str(n): {} for n in range(11)}, "arch": "amd64"}}}
    )
    with pytest.raises(LimitError, match=r"^the texts of the stream's images have more than 0 MiB in total$"):
        list_images(products, "incus-7")
    monkeypatch.setattr(client_image_list, "MOST_TEXTS", 1100)
    assert len(list_images(products, "incus-7")[1]) == 11


def test_attack_73_the_limit_on_catalog_texts_is_in_bytes_of_json(monkeypatch):
    """A catalog of 2 MB with emojis made `serve` hold 1.6 GB of JSON."""
    files = {"a": {"ftype": "incus_combined.tar.gz", "path": "a", "sha256": "a" * 64, "size": 1}}
    products, _ = decoded({"products": {"p": {
        "arch": "amd64", "requirements": {"k": "\N{GRINNING FACE}" * 9}, "versions": {"20250101": {"items": files}},
    }}})  # fmt: skip
    monkeypatch.setattr(client_image_list, "MOST_TEXTS", 2 + 9 * 12)
    assert len(list_images(products, "incus-7")[0]) == 1
    monkeypatch.setattr(client_image_list, "MOST_TEXTS", 1 + 9 * 12)
    with pytest.raises(LimitError):
        list_images(products, "incus-7")


def test_the_limit_on_catalog_texts_includes_the_texts_of_dropped_images(
    monkeypatch,
):
    files = {"a": {"ftype": "incus_combined.tar.gz", "path": "a", "sha256": "a" * 64, "size": 1}}
    versions = {"20250101": {"items": files}, "20250102": {}}
    products, _ = decoded({"products": {
        name: {"os": "x" * 99, "versions": versions, "arch": "amd64", "aliases": name} for name in "pqr"
    }})  # fmt: skip
    images, dropped = list_images(products, "incus-7")
    assert (len(images), len(dropped)) == (3, 3)
    monkeypatch.setattr(client_image_list, "MOST_TEXTS", 600)
    assert len(list_images(products, "incus-7")[0]) == 3
    monkeypatch.setattr(client_image_list, "MOST_TEXTS", 599)
    with pytest.raises(LimitError):
        list_images(products, "incus-7")


def test_all_files_of_a_catalog_share_one_size_limit(monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES_OF_ALL", 1 << 20)
    half = b'{"index": {}}'.ljust(1 << 19)
    with CatalogFiles(lambda path: io.BytesIO(half)) as files:
        assert files.index() == files.index() == {"index": {}}
        with pytest.raises(LimitError, match=r"^the catalog has more than 1 MiB$"):
            files.index()


@pytest.mark.parametrize("value", [None, [], "x", 1, 1.5, True, {}], ids=repr)
@pytest.mark.parametrize(
    "path",
    [
        ("products",), ("products", "p"), ("products", "p", "aliases"), ("products", "p", "versions"),
        ("products", "p", "versions", "v"), ("products", "p", "versions", "v", "items"),
        ("products", "p", "versions", "v", "items", "i"), ("products", "p", "versions", "v", "items", "i", "size"),
        ("products", "p", "requirements"), ("products", "p", "requirements", "secureboot"), ("license",), (),
    ],
)  # fmt: skip
def test_a_value_of_any_type_is_decoded_or_reported(path, value):
    document = value
    for key in reversed(path):
        document = {key: document}
    products, mismatches = decoded(document)
    for client in module.CLIENTS:
        list_images(products, client)
    assert all(each.place and each.message for each in mismatches)
    assert decode_index(document, Decoded()) == []


@pytest.mark.parametrize("size", [1 << 63, -(1 << 63) - 1, 1e3])
def test_a_size_must_be_a_64_bit_integer(size):
    document = {"products": {"p": {"versions": {"v": {"items": {"i": {"size": size}}}}}}}
    assert "not a 64-bit integer" in decoded(document)[1][0].message


def test_lxd_requirements_of_a_wrong_type_affect_only_lxd_clients():
    (mismatch,) = decoded({"products": {"p": {"lxd_requirements": {"secureboot": False}}}})[1]
    assert mismatch.clients == ("lxd",)


def test_a_written_catalog_has_one_product_per_line():
    document = json.loads((EXAMPLE / IMAGES).read_text())
    data = b"".join(dump_products(document))
    assert json.loads(data) == document
    assert data.count(b"\n") == len(document["products"]) + 2
    assert json.loads(b"".join(dump_products({"products": {}}))) == {"products": {}}


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("images/a", "images/a"), ("/images/a", "images/a"), ("x/../images/a", "images/a"), ("a//b/./c", "a/b/c"),
        ("..", ""), ("../a", ""), ("a/../../b", ""), ("/../a", ""), ("", ""), ("/", ""), (".", ""), ("a\0b", ""),
        (None, ""), (1, ""), (["a"], ""),
    ],
)  # fmt: skip
def test_normalised_image_paths_never_leave_the_tree(path, cleaned):
    assert clean_path(path) == cleaned


@pytest.mark.parametrize("character", ["😀".encode(), b"\\ud83d\\ude00"], ids=["UTF-8", "escape"])
def test_a_catalog_with_emoji_has_a_smaller_size_limit(character, monkeypatch):
    """Python uses four bytes for each character of a text that has one emoji."""
    monkeypatch.setattr(module, "MOST_BYTES", 4 << 20)
    monkeypatch.setattr(module, "MOST_BYTES_OF_ALL", 16 << 20)
    size = module.CatalogSize()
    size.add(io.BytesIO(character + b" " * (1 << 19)), "a")
    size.add(io.BytesIO("é€".encode() + b" " * (2 << 20)), "b")
    message = r"^the catalog has more than 1 MiB \(characters such as emojis lower the limit for a catalog\)$"
    with pytest.raises(LimitError, match=message):
        size.add(io.BytesIO(character + b" " * (1 << 20)), "c")


def test_a_catalog_may_have_two_files_of_maximum_size():
    class Largest(io.BytesIO):
        def seek(self, offset, whence=io.SEEK_SET):
            return module.MOST_BYTES if whence == io.SEEK_END else super().seek(offset, whence)

    size = module.CatalogSize()
    for name in "ab":
        assert size.add(Largest(), name) == 32 << 20
    with pytest.raises(LimitError, match=r"^the catalog has more than 64 MiB$"):
        size.add(io.BytesIO(b" "), "c")


def test_the_total_length_of_the_aliases_in_a_catalog_is_limited(monkeypatch):
    monkeypatch.setattr(module, "MOST_ALIAS_TEXT", 10)
    found = Decoded()
    found.count_aliases("a" * 5)
    found.count_aliases("b" * 5)
    with pytest.raises(
        LimitError, match=r"^the aliases of the catalog have more than 10 characters in total$"
    ):
        found.count_aliases("c")
