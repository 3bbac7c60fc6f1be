"""Dates and aliases of catalogs, as the clients read them."""

import sys
from datetime import date

import pytest

from templater.distribution.catalog_decoder import Decoded, decode_products
from templater.distribution.client_image_list import day, list_images


@pytest.mark.parametrize(
    ("text", "layout", "found"),
    [
        ("2026-01-31", "%Y-%m-%d", (2026, 1, 31)),
        ("20260131", "%Y%m%d", (2026, 1, 31)),
        ("2024-02-29", "%Y-%m-%d", (2024, 2, 29)),
        ("2026-02-29", "%Y-%m-%d", None),
        ("20261301", "%Y%m%d", None),
        ("20260100", "%Y%m%d", None),
        ("2026-1-31", "%Y-%m-%d", None),
        ("2026-01-311", "%Y-%m-%d", None),
        ("20-2601-31", "%Y-%m-%d", None),
        ("2026-0131-", "%Y-%m-%d", None),
        ("20260-1-31", "%Y-%m-%d", None),
        ("20260131", "%Y-%m-%d", None),
        ("2026-01-31", "%Y%m%d", None),
        ("202601311", "%Y%m%d", None),
        ("2026013", "%Y%m%d", None),
        ("2026013x", "%Y%m%d", None),
        ("+2026013", "%Y%m%d", None),
        ("2026 131", "%Y%m%d", None),
        ("٢٠٢٦٠١٣١", "%Y%m%d", None),
        ("2026-01-3²", "%Y-%m-%d", None),
        ("", "%Y%m%d", None),
        ("", "%Y-%m-%d", None),
    ],
)
def test_a_date_is_parsed_as_strictly_as_in_go(text, layout, found):
    assert day(text, layout) == (found and date(*found))


def item(letter, ftype="incus_combined.tar.gz"):
    return {"ftype": ftype, "path": f"images/{letter}", "sha256": letter * 64, "size": 1}


def product(letters, *, os="Tiny", release="1", variant="default", aliases="own", arch="amd64", **more):
    """Return a product with a version for each letter. The letter is in the image's fingerprint."""
    versions = {
        f"2026010{number}_0000": {"items": {"u": item(letter)}} for number, letter in enumerate(letters, 1)
    }
    facts = {"aliases": aliases, "arch": arch, "os": os, "release": release, "variant": variant}
    return {**facts, "versions": versions, **more}


def listed(*products):
    documents = {"products": {f"p{number}": each for number, each in enumerate(products)}}
    return list_images(decode_products(documents, "", Decoded()), "incus-6.0")[0]


def owners(*products):
    """Return the first letter of the fingerprint of each image with the alias ``own``.

    Also return whether the alias certainly selects this image.
    """
    return [(image.fingerprint[0], "own" not in image.random) for image in listed(*products) if "own" in image.aliases]  # fmt: skip


SPLIT = {
    "m": {**item("b", "incus.tar.xz"), "combined_squashfs_sha256": "c" * 64},
    "r": item("d", "squashfs"),
}


@pytest.mark.parametrize(
    ("products", "found"),
    [
        ([product("ab")], [("b", True)]),
        ([product("a"), product("b", release="2")], [("a", True)]),
        ([product("a", variant=""), product("b", variant="", release="2")], [("a", True)]),
        ([product("a", os=""), product("b", os="", release="2")], [("a", True)]),
        ([product("a"), product("b", arch="arm64")], [("a", True), ("b", True)]),
        ([product("a"), product("a")], [("a", True)]),
        ([product("a", os=""), product("b")], [("a", False)]),
        ([product("a", release=""), product("b")], [("a", False)]),
        ([product("a", variant=""), product("b")], [("a", False)]),
        ([product("a"), product("b")], [("a", False)]),
        # a missing property of any product changes the order of the others
        ([product("ab"), product("c", os="", aliases="other")], [("b", False)]),
        ([product("a"), product("b", release="2"), product("c", release="", aliases="")], [("a", False)]),
        ([product("ab"), product("c", release="2", variant="", aliases="")], [("b", True)]),
        ([product("ab", release="2"), product("c", os="Z", release="", aliases="")], [("b", True)]),
        ([product("", versions={"20260101": {"items": {"u": item("a"), **SPLIT}}})], [("a", False)]),
        (
            [product("", versions={"20260101": {"items": {"u": item("a"), "v": item("b")}}})],
            [("a", False)],
        ),
        ([product("", versions={"20260101": {"items": {"u": item("c"), **SPLIT}}})], [("c", True)]),
    ],
)
def test_an_alias_is_random_if_the_order_is_undefined(products, found):
    """The source file sort.go of the clients treats a missing property as equal to any other value."""
    assert owners(*products) == found


@pytest.mark.slow
def test_listing_products_takes_linear_time_if_clients_cannot_sort_them():
    def calls(count):
        products = [product("ab", release=str(n), aliases=f"a{n},own") for n in range(count)]
        events = []
        sys.setprofile(lambda frame, event, argument: events.append(event))
        try:
            images = listed(product("a", release="", aliases=""), *products)
        finally:
            sys.setprofile(None)
        assert sum("own" in image.aliases for image in images) == 1
        return len(events)

    assert calls(1000) < 4.5 * calls(250)
