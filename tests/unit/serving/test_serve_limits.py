"""The limit that commands use for a tree is at least the size of the lists that its server makes."""

import random

import pytest

from templater.distribution.catalog_decoder import CLIENTS, Decoded, decode_products
from templater.distribution.catalog_limits import ServedSize
from templater.distribution.client_image_list import list_images
from templater.serving.image_listing import Listing
from templater.serving.image_sources import TreeSource
from tests.streams.random_products import random_product


def sizes(products, folder) -> tuple[int, int]:
    """Return the size that commands count, and the size of the lists."""
    served = ServedSize()
    for client in CLIENTS:
        served.add(list_images(products, client)[0], client)
    return served.bytes, Listing(TreeSource(str(folder))._images(products))._size


@pytest.mark.slow
def test_attack_82_commands_never_underestimate_the_size_of_server_lists(tmp_path):
    rng = random.Random(82)
    for _ in range(200):
        product = random_product(rng)
        counted, size = sizes(list(decode_products({"products": {"p": product}}, "", Decoded())), tmp_path)
        assert counted >= size > 0, product


@pytest.mark.parametrize("aliases", [0, 4])
def test_estimated_size_is_at_most_10_percent_too_high(aliases, tmp_path):
    digest = "a" * 64
    item = {"path": "images/a.tar.xz", "size": 10**6, "combined_squashfs_sha256": digest}
    items = {f"{family}.tar.xz": {"ftype": f"{family}.tar.xz", **item} for family in ("incus", "lxd")}
    items["root"] = {"ftype": "squashfs", "path": "b", "size": 10**8, "sha256": "b" * 64}
    product = {
        "os": "debian", "release": "13", "release_title": "trixie", "variant": "default", "arch": "amd64",
        "aliases": ",".join(f"debian/13/{number}" for number in range(aliases)),
        "versions": {"20260101_0000": {"items": items}},
    }  # fmt: skip
    counted, size = sizes(list(decode_products({"products": {"p": product}}, "", Decoded())), tmp_path)
    assert size <= counted < 1.1 * size
