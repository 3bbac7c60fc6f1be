"""Writing with few parsed products: the same bytes as if all were parsed, and less memory."""

import json
import random
import shutil
import tracemalloc

import pytest

from templater.distribution import tree as module
from templater.distribution.add_to_tree import add
from templater.distribution.catalog_decoder import IMAGES_PATH
from templater.distribution.product_lines import ProductLines, dump_products
from templater.distribution.prune_tree import prune
from templater.distribution.remove_from_tree import remove
from templater.distribution.tree import Tree
from tests.streams.builders import CREATED, DAY, checked, split_image, squashfs


class _Refusing:
    def __init__(self, data, visit):
        raise ValueError


def changes(folder, seed):
    """Random changes of a tree: more versions, aliases that move, and names with escapes."""
    choose = random.Random(seed)
    made = []
    for number in range(14):
        if number > 4 and choose.random() < 0.3:
            made.append(choose.choice([
                lambda tree: prune(tree, keep=1),
                lambda tree: remove(tree, [next(iter(tree.load().read()))[1]]),
                lambda tree: remove(tree, [fingerprints(tree)[0][:20]]),
            ]))  # fmt: skip
            continue
        fields = {
            "os": choose.choice(["Tiny", "Größe", "Back\\\\slash"]), "variant": choose.choice(["default", "cloud"]),
            "release": choose.choice(["1", "2"]), "created": CREATED + number * DAY,
            "release_title": choose.choice(["one", "höher"]),
        }  # fmt: skip
        pair = split_image(folder / str(number), root=squashfs(number, 1000), **fields)
        aliases = choose.sample(["latest", "ä/b", "x"], choose.randint(0, 2))
        made.append(lambda tree, pair=pair, aliases=aliases: add(tree, pair[0], [pair[1]], aliases=aliases))
    return made


def fingerprints(tree):
    return sorted(
        item["combined_squashfs_sha256"] for item in tree.load().items() if item["ftype"] == "incus.tar.xz"
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_changing_individual_product_lines_writes_the_same_bytes_as_writing_the_whole_catalog(
    tmp_path, monkeypatch, seed
):
    ours, other = Tree(str(tmp_path / "ours")), Tree(str(tmp_path / "other"))
    for change in changes(tmp_path / "images", seed):
        result = change(ours)
        with monkeypatch.context() as patched:
            patched.setattr(module, "ProductLines", _Refusing)
            assert change(other) == result
        for path in (IMAGES_PATH, "streams/v1/index.json"):
            assert ours.read(path) == other.read(path)
        products = ours.load().files[IMAGES_PATH]["products"]
        assert isinstance(products, ProductLines) == bool(products), "our own files are read line by line"
    checked(ours)


def opened(path):
    return ProductLines(path.read_bytes())


@pytest.fixture
def lines(tmp_path):
    products = {f"p{number}": {"aliases": "", "variant": "default", "versions": {}} for number in range(3)}
    path = tmp_path / "images.json"
    path.write_bytes(b"".join(dump_products({"format": "products:1.0", "products": products})))
    return path


def test_only_products_that_are_looked_up_are_parsed(lines):
    products = opened(lines)
    assert products.containing(["p1"]) == ["p1"]
    assert products.containing([]) == []
    products["p2"]["aliases"] = "changed"
    assert products.containing([]) == ["p2"]
    del products["p0"]
    assert sorted(products) == ["p1", "p2"]
    assert len(products) == 2
    written = b"".join(dump_products({"products": products}))
    assert json.loads(written)["products"]["p2"]["aliases"] == "changed"
    assert b'"p0"' not in written


OTHER_FORMS = {
    "spaces": lambda text: text.replace('{"format":', '{ "format":'),
    "one line": lambda text: text.replace("\n", ""),
    "another order": lambda text: text.replace("p0", "p9"),
    "twice": lambda text: text.replace("p0", "p1"),
    "two on a line": lambda text: text.replace(',\n"p1"', ',"p1"'),
    "no comma": lambda text: text.replace(',\n"p1"', '\n"p1"'),
    "a comma too many": lambda text: text.replace("\n}}", ",\n}}"),
    "a line too many": lambda text: text + "\n",
    "no end": lambda text: text.removesuffix("}}\n"),
    "no variant": lambda text: text.replace('"variant":"default",', "", 1),
    "a product of a wrong type": lambda text: text.replace('"versions":{}', '"versions":[]', 1),
    "not JSON": lambda text: text.replace('"p1":{', '"p1":{,'),
    "NaN": lambda text: text.replace('"versions":{}', '"versions":{},"x":NaN', 1),
    "nested": lambda text: text.replace('"versions":{}', '"versions":{},"x":' + "[" * 100_000 + "]" * 100_000, 1),
    "versions twice": lambda text: text.replace('"versions":{}', '"versions":{},"versions":{}', 1),
    "no products": lambda text: text.partition('"p0"')[0] + "\n}}\n",
    "empty": lambda text: "",
}  # fmt: skip


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_a_catalog_in_another_layout_is_not_read_line_by_line(lines, form):
    changed = OTHER_FORMS[form](lines.read_text())
    assert changed != lines.read_text()
    lines.write_text(changed)
    with pytest.raises((ValueError, RecursionError)):
        opened(lines)


def test_a_catalog_that_is_not_valid_utf8_is_not_read_line_by_line(lines):
    lines.write_bytes(lines.read_bytes().replace(b"default", b"\xff", 1))
    with pytest.raises(ValueError, match="utf-8"):
        opened(lines)


@pytest.mark.slow
def test_adding_an_image_to_ten_thousand_images_needs_at_most_64_mib(tmp_path):
    """The check whether readers accept the changed catalog holds all products, as a reader does."""
    from tests.bench.streams import make_tree

    used = {}
    for count in (10, 10_000):
        folder = tmp_path / str(count)
        make_tree(folder, count)
        pair = split_image(tmp_path / f"new{count}", os="more")
        tracemalloc.start()
        try:
            add(Tree(str(folder)), pair[0], [pair[1]])
            used[count] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        shutil.rmtree(folder)
    assert used[10_000] < used[10] + (64 << 20), f"bytes: {used}"
