"""Hostile and odd catalogs: one clear error, within bounds."""

import json

import pytest

from templater.distribution import catalog as module
from templater.distribution.catalog import Decoded, decode_index, decode_products, parse_json
from templater.distribution.client_view import list_images
from templater.distribution.product_lines import dump_products
from templater.distribution.tree import clean_path
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
def test_json_that_no_client_reads_is_an_input_error(data):
    with pytest.raises(InputError):
        parse_json(data, "images.json")


def test_a_catalog_larger_than_the_limit_is_refused():
    with pytest.raises(LimitError, match="32 MiB"):
        parse_json(b" " * (module.MOST_BYTES + 1), "images.json")


def test_a_catalog_of_too_many_values_is_refused_before_it_fills_the_memory():
    with pytest.raises(LimitError, match="values"):
        parse_json(b"[" + b"[]," * module.MOST_VALUES + b"[]]", "images.json")


def test_a_version_with_too_many_items_is_refused():
    items = {str(number): {"ftype": "incus.tar.xz"} for number in range(module.MOST_ITEMS + 1)}
    with pytest.raises(LimitError, match="items"):
        decoded({"products": {"a": {"versions": {"20260101": {"items": items}}}}})


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
def test_a_value_of_any_type_in_the_catalog_is_decoded_or_reported(path, value):
    document = value
    for key in reversed(path):
        document = {key: document}
    products, mismatches = decoded(document)
    for client in module.CLIENTS:
        list_images(products, client)
    assert all(each.place and each.message for each in mismatches)
    assert decode_index(document, Decoded()) == []


@pytest.mark.parametrize("size", [1 << 63, -(1 << 63) - 1, 1e3])
def test_a_size_that_is_not_a_64_bit_integer_is_reported(size):
    document = {"products": {"p": {"versions": {"v": {"items": {"i": {"size": size}}}}}}}
    assert "not a 64-bit integer" in decoded(document)[1][0].message


def test_a_wrong_type_of_lxd_requirements_breaks_lxd_only():
    (mismatch,) = decoded({"products": {"p": {"lxd_requirements": {"secureboot": False}}}})[1]
    assert mismatch.clients == ("lxd",)


def test_products_are_written_one_per_line_and_parse_to_equal_data():
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
def test_image_paths_are_cleaned_as_clients_do_and_never_leave_the_tree(path, cleaned):
    assert clean_path(path) == cleaned
