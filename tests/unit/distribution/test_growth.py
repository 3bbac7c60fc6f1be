"""Each operation on twice as many images costs at most 2.3 times as much time and memory."""

import json
import os
import shutil
import time
import tracemalloc

import pytest

from templater.distribution.add_to_tree import add
from templater.distribution.catalog_decoder import Decoded, decode_products, parse_json
from templater.distribution.client_image_list import list_images
from templater.distribution.list_stream import list_stream
from templater.distribution.products_by_line import dump_products
from templater.distribution.remove_and_prune import prune, remove
from templater.distribution.stream_interface import LocalStream
from templater.distribution.stream_web_page import page
from templater.distribution.tree import Tree
from templater.distribution.verify import verify
from tests.bench.streams import make_tree
from tests.streams.builders import split_image

IMAGES = "streams/v1/images.json"
SIZES = (250, 1000)
MOST = 2.3**2  # for two doublings


class Trees:
    """Trees of each size, made once."""

    def __init__(self, folder):
        self.folder = folder
        for size in SIZES:
            make_tree(folder / str(size), size)
        self.pair = split_image(folder / "image", os="more")

    def tree(self, size):
        return Tree(str(self.folder / str(size)))

    def document(self, size):
        return json.loads(self.tree(size).read(IMAGES))


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    return Trees(tmp_path_factory.mktemp("trees"))


def products(document):
    return list(decode_products(document, "", Decoded()))


def add_and_remove(trees, size):
    tree = trees.tree(size)
    add(tree, trees.pair[0], [trees.pair[1]])
    remove(tree, ["more:1:amd64:default"])


def shared_root(document):
    """A hostile catalog: every image has the root filesystem of the first one."""
    values = [product["versions"]["20260101_0000"]["items"] for product in document["products"].values()]
    for items in values:
        items["squashfs"] = values[0]["squashfs"]
    return document


def verify_document(trees, size, change):
    tree = Tree(str(trees.folder / f"changed{size}"))
    folder = trees.folder / f"changed{size}"
    if not folder.exists():
        shutil.copytree(trees.folder / str(size) / "images", folder / "images", copy_function=os.link)
        (folder / "streams/v1").mkdir(parents=True)
        (folder / IMAGES).write_text(json.dumps(change(trees.document(size))))
        (folder / "streams/v1/index.json").write_bytes(trees.tree(size).read("streams/v1/index.json"))
    verify(LocalStream(tree))


#: the measured actions with ``size`` images; preparations are not measured
ACTIONS = {
    "parse": lambda trees, size: parse_json(trees.tree(size).read(IMAGES), ""),
    "verify": lambda trees, size: verify(LocalStream(trees.tree(size))),
    "verify metadata": lambda trees, size: verify(LocalStream(trees.tree(size)), metadata_only=True),
    "list": lambda trees, size: list_stream(LocalStream(trees.tree(size))),
    "page": lambda trees, size: page(list_stream(LocalStream(trees.tree(size))), "Images"),
    "add and remove": add_and_remove,
    "prune": lambda trees, size: prune(trees.tree(size), keep=1, dry_run=True),
    "a root shared by all": lambda trees, size: verify_document(trees, size, shared_root),
}
#: hostile catalogs with ``size`` values in one place
SHAPES = {
    "aliases": lambda size: {"p": {"arch": "amd64", "aliases": "a," * size * 50}},
    "equal aliases of products": lambda size: {
        str(n): {"arch": "amd64", "aliases": "a,b,c"} for n in range(size)
    },
    "versions": lambda size: {"p": {"arch": "amd64", "versions": {str(n): {} for n in range(size * 10)}}},
    "requirements": lambda size: {
        str(n): {"requirements": {str(m): m for m in range(20)}} for n in range(size // 5)
    },
    "long texts": lambda size: {
        f"{n:03}" + "\x1b" * 500: {"os": "\x1b" * 500, "arch": "x" * 500} for n in range(size // 5)
    },
}


def decode(document):
    found = products({"products": document})
    for client in ("incus-6.0", "lxd"):
        list_images(found, client)
    b"".join(dump_products({"products": document}))


def seconds(action):
    """Return the least processor time of several runs, because other processes disturb this run least."""
    times = []
    for _ in range(3):
        begun = time.thread_time()
        action()
        times.append(time.thread_time() - begun)
    return min(times)


def memory(action):
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def growth(measure, act):
    """Return the ratio of the large case's cost to the small one's. A busy machine can only increase it."""
    least = float("inf")
    noise = 0.01 if measure is seconds else 1 << 20
    for _ in range(8):
        small, large = (max(noise, measure(lambda size=size: act(size))) for size in SIZES)
        least = min(least, large / small)
        if least <= MOST:
            break
    return least


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("measure", [seconds, memory], ids=["time", "memory"])
def test_verifying_a_tree_takes_linear_time_and_memory(trees, name, measure):
    ACTIONS[name](trees, SIZES[0])
    assert growth(measure, lambda size: ACTIONS[name](trees, size)) <= MOST


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("measure", [seconds, memory], ids=["time", "memory"])
def test_reading_a_hostile_catalog_takes_linear_time_and_memory(name, measure):
    documents = {size: SHAPES[name](size) for size in SIZES}
    assert growth(measure, lambda size: decode(documents[size])) <= MOST
