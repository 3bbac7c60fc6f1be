"""The upper bounds of a catalog are never below the real numbers, and not far above them."""

import json
import random

import pytest

from templater.distribution import catalog_limits, list_stream
from templater.distribution.add_to_tree import add
from templater.distribution.catalog_decoder import (
    CLIENTS,
    IMAGES_PATH,
    INDEX_PATH,
    Decoded,
    count_values,
    decode_products,
)
from templater.distribution.catalog_limits import ServedSize, UpperBounds, json_length
from templater.distribution.client_image_list import list_images
from templater.distribution.tree import Tree
from templater.model.errors import LimitError
from tests.bench.streams import make_tree
from tests.streams.builders import split_image, unified_image
from tests.streams.random_products import random_product


def real(raw: dict) -> tuple[int, int, int]:
    """Return three numbers for a catalog.

    The numbers are the entries of one client, the length of their texts, and the bytes of a server's lists.
    """
    products = list(decode_products({"products": raw}, "", Decoded()))
    served, entries, texts = ServedSize(), 0, 0
    for client in CLIENTS:
        images, dropped = list_images(products, client)
        served.add(images, client)
        entries = max(entries, len(images) + len(dropped))
        names = [image.product.name for image in images] + [each.product for each in dropped]
        by_name = {product.name: product for product in products}
        texts = max(texts, sum(json_length(by_name[name].release_title) - 2 for name in names))
    return entries, texts, served.bytes


def bounds_of(raw: dict) -> UpperBounds:
    bounds = UpperBounds()
    for name, product in raw.items():
        bounds.add(name, product)
    return bounds


@pytest.mark.slow
def test_the_computed_bounds_are_never_below_the_exact_values():
    rng = random.Random(7)
    for _ in range(200):
        raw = {f"p{number}": random_product(rng) for number in range(rng.randint(1, 3))}
        bounds, (images, texts, lists) = bounds_of(raw), real(raw)
        assert bounds.is_known
        assert (bounds.images >= images, bounds.texts >= texts, bounds.lists >= lists) == (True,) * 3, raw


def test_each_pair_of_metadata_and_root_is_one_image():
    items = {
        f"m{n}": {"ftype": "incus.tar.xz", "path": "m", "combined_squashfs_sha256": f"{n}"} for n in range(9)
    }
    items |= {f"r{n}": {"ftype": "squashfs", "path": "r"} for n in range(9)}
    raw = {"p": {"arch": "amd64", "versions": {"20260101": {"items": items}}}}
    assert bounds_of(raw).images == real(raw)[0] == 81


@pytest.mark.parametrize(
    "product", [{"aliases": "a," * 300_000}, {"os": "x" * 600}, {"versions": {}, "Versions": {}}]
)
def test_bounds_are_unknown_if_templater_refuses_a_product(product):
    assert not bounds_of({"p": product}).is_known


def test_catalog_bounds_are_less_than_a_third_too_high(tmp_path):
    make_tree(tmp_path / "tree", 200)
    raw = json.loads((tmp_path / "tree" / IMAGES_PATH).read_bytes())["products"]
    bounds, (images, _, lists) = bounds_of(raw), real(raw)
    assert bounds.images == images == 200
    assert lists <= bounds.lists < 1.33 * lists


def test_a_catalog_far_below_the_limits_is_not_listed(tmp_path, monkeypatch):
    tree = Tree(str(tmp_path / "tree"))
    listed = []
    monkeypatch.setattr(list_stream, "read_products", lambda stream: listed.append(stream) or [])
    add(tree, unified_image(tmp_path / "a"))
    assert not listed
    monkeypatch.setattr(catalog_limits, "MOST_IMAGES", 1)
    add(tree, unified_image(tmp_path / "b", release="2"))
    assert len(listed) == 1


@pytest.mark.parametrize(
    "name", ["MOST_OF_CATALOG", "MOST_VALUES", "MOST_IMAGES", "MOST_TEXTS", "MOST_OF_LISTS"]
)
def test_all_images_are_read_if_bounds_are_too_high(tmp_path, monkeypatch, name):
    def list_images_again(stream):
        raise LimitError("listed")

    tree = Tree(str(tmp_path / "tree"))
    meta, root = split_image(tmp_path / "a")
    monkeypatch.setattr(list_stream, "read_products", list_images_again)
    monkeypatch.setattr(catalog_limits, name, 0)
    with pytest.raises(LimitError, match=r"^listed$"):
        add(tree, meta, [root])


def test_a_wide_character_makes_templater_read_the_whole_catalog(tmp_path, monkeypatch):
    """Python needs four bytes for each character of the catalog, so another limit applies."""
    tree = Tree(str(tmp_path / "tree"))
    listed = []
    monkeypatch.setattr(list_stream, "read_products", lambda stream: listed.append(stream) or [])
    add(tree, unified_image(tmp_path / "a", release_title="\N{GRINNING FACE}"))
    assert len(listed) == 1


@pytest.mark.parametrize("indent", [None, 1], ids=["product lines", "indented"])
@pytest.mark.parametrize("name", ["MOST_OF_CATALOG", "MOST_VALUES"])
def test_the_limits_on_a_catalog_include_old_and_new_products(tmp_path, monkeypatch, name, indent):
    trees = [tmp_path / "a", tmp_path / "b"]
    for folder in trees:
        make_tree(folder, 5)
        if indent:
            file = folder / IMAGES_PATH
            file.write_text(json.dumps(json.loads(file.read_bytes()), indent=indent))
    meta, root = split_image(tmp_path / "image")
    add(Tree(str(trees[0])), meta, [root])
    files = [(trees[0] / path).read_bytes() for path in (INDEX_PATH, IMAGES_PATH)]
    measure = len if name == "MOST_OF_CATALOG" else count_values
    monkeypatch.setattr(catalog_limits, name, sum(map(measure, files)) - 1)
    listed = []
    monkeypatch.setattr(list_stream, "read_products", lambda stream: listed.append(stream) or [])
    add(Tree(str(trees[1])), meta, [root])
    assert len(listed) == 1
