"""The view of readers and other writers while a tree changes."""

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from templater import oslite
from templater.distribution import catalog_decoder
from templater.distribution import tree as module
from templater.distribution.add_to_tree import add
from templater.distribution.catalog_decoder import DOWNLOADS, IMAGES_PATH, INDEX_PATH
from templater.distribution.remove_and_prune import REMOVED, prune, read_removed, record_removed, remove
from templater.distribution.stream_interface import LocalStream
from templater.distribution.tree import Tree, real_path
from templater.distribution.tree_catalog import Catalog
from templater.distribution.verify import verify
from templater.model.errors import (
    BusyError,
    InputError,
    LimitError,
    RefusedError,
    TemplaterError,
    WriteError,
)
from tests.processor_time import ends_within
from tests.streams.builders import CREATED, DAY, checked, split_image, squashfs
from tests.streams.killed import ended, forked, killed_at_random_moments, stopped_at_each_call

ROOT = Path(__file__).resolve().parents[3]


def images(folder, count, **fields):
    return [
        split_image(
            folder / str(number), created=CREATED + number * DAY, root=squashfs(number, 1000), **fields
        )
        for number in range(count)
    ]


def command(*words, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "templater", "streams", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        **options,
    )


def versions(tree):
    products = json.loads(tree.read(IMAGES_PATH))["products"].values()
    return {version for product in products for version in product["versions"]}


def test_a_second_writer_waits_and_then_fails_with_exit_code_7(tmp_path):
    tree = Tree(str(tmp_path / "tree"))
    tree.create()
    with tree.lock(), pytest.raises(BusyError) as raised, Tree(tree.path).lock(wait=0.1):
        pass
    assert raised.value.exit_code == 7
    assert raised.value.message == f"'{tree.path}' is being written by another process"
    assert raised.value.hint == "wait until that process has finished"
    with tree.lock(wait=0):
        pass


@pytest.mark.slow
def test_no_change_is_lost_with_two_concurrent_writers(tmp_path):
    tree = Tree(str(tmp_path / "tree"))
    pairs = images(tmp_path / "images", 8)
    writers = [command("add", tree.path, *pair) for pair in pairs]
    for writer in writers:
        assert writer.wait(60) == 0, writer.stderr.read()
    assert len(versions(tree)) == 8
    checked(tree)


def test_image_files_are_written_before_catalog_and_index(tmp_path, monkeypatch):
    tree = Tree(str(tmp_path / "tree"))
    (pair,) = images(tmp_path / "images", 1)
    seen = []
    original = module.Output.publish

    def publish(output, path, **options):
        original(output, path, **options)
        real = os.path.realpath(path)
        seen.append((os.path.relpath(real, os.path.realpath(tree.path)), os.path.exists(real)))

    monkeypatch.setattr(module.Output, "publish", publish)
    add(tree, pair[0], [pair[1]])
    assert [path.partition("/")[0] for path, _ in seen] == ["images", "images", "streams", "streams"]
    assert [path for path, _ in seen[2:]] == [IMAGES_PATH, INDEX_PATH]


class Reader(threading.Thread):
    """A client in a loop: it reads the index, then the catalog, then every file that the catalog names."""

    def __init__(self, tree):
        super().__init__()
        self.tree, self.stopped, self.rounds, self.wrong = tree, False, 0, []

    def run(self):
        while not self.stopped:
            report = verify(LocalStream(self.tree))
            self.rounds += 1
            self.wrong += [each for each in report.problems if each.code not in ("stray", "index-products")]

    def result(self):
        self.stopped = True
        self.join()
        assert self.rounds
        return self.wrong


def change(tree, pairs, times):
    for number in range(times):
        meta, root = pairs[number % len(pairs)]
        add(tree, meta, [root])
        if number % 3 == 2:
            prune(tree, keep=2)
        if number % 5 == 4 and len(versions(tree)) > 1:
            remove(tree, [f"tiny:1:amd64:default@{min(versions(tree))}"])


def read_while_changing(tmp_path, times):
    tree = Tree(str(tmp_path / "tree"))
    pairs = images(tmp_path / "images", 6)
    add(tree, pairs[0][0], [pairs[0][1]])
    reader = Reader(Tree(tree.path))
    reader.start()
    try:
        change(tree, pairs, times)
    finally:
        wrong = reader.result()
    assert not wrong
    checked(tree)


@pytest.mark.slow
def test_a_reader_sees_no_mismatch_during_a_few_changes(tmp_path):
    read_while_changing(tmp_path, 10)


@pytest.mark.in_memory
@pytest.mark.slow
def test_a_reader_sees_no_mismatch_during_hundreds_of_changes(tmp_path):
    read_while_changing(tmp_path, 300)


def kill_at_random_moments(tmp_path, count, seed):
    """Kill `add`, `remove` and `prune` at random moments.

    After each kill, check that the tree is valid and that another command works.
    """
    choose = random.Random(seed)
    tree = Tree(str(tmp_path / "tree"))
    pairs = images(tmp_path / "images", 6)
    began = time.monotonic()
    process = command("add", tree.path, *pairs[0])
    assert process.wait() == 0
    process.stderr.close()
    whole = time.monotonic() - began  # on this machine
    killed = 0
    for number in range(count):
        meta, root = pairs[number % len(pairs)]
        there = sorted(versions(tree))
        words = ("add", tree.path, meta, root)
        if number % 3 == 1 and len(there) > 1:
            words = ("remove", tree.path, f"tiny:1:amd64:default@{there[0]}")
        elif number % 3 == 2:
            words = ("prune", tree.path, "--keep", "2", "--grace", "0s")
        began = time.monotonic()
        process = command(*words)
        try:
            process.wait(choose.uniform(0.2, 0.95) * whole)
            whole = min(whole, time.monotonic() - began)  # the machine is less busy now
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stderr.close()
        report = verify(LocalStream(Tree(tree.path)))
        wrong = [each for each in report.problems if each.code not in ("stray", "index-products")]
        assert not wrong, (words, wrong)
    for meta, root in pairs:
        add(tree, meta, [root])
    prune(tree, grace=0)
    prune(tree, grace=0)
    checked(tree)
    assert not [name for name in os.listdir(os.path.join(tree.path, "images")) if name.startswith(".")]
    return killed


@pytest.mark.in_memory
@pytest.mark.slow
def test_a_tree_stays_valid_after_a_few_killed_writers(tmp_path):
    assert kill_at_random_moments(tmp_path, 8, seed=1)


# the child only changes files, and ends without running anything of pytest's
@pytest.mark.in_memory
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("action", ["add", "remove"])
def test_a_tree_stays_valid_after_many_killed_writers(tmp_path, action):
    """A kill counts only if it hits the action itself, not the code before or after it."""
    tree = Tree(str(tmp_path / "tree"))
    pairs = images(tmp_path / "images", 3)
    name = "tiny:1:amd64:default@20260103_0000"
    add(tree, pairs[0][0], [pairs[0][1]])

    def add_third():
        add(tree, pairs[2][0], [pairs[2][1]])

    def remove_third():
        if len(versions(tree)) > 1:
            remove(tree, [name])
        prune(tree, grace=0)

    killed, prepare = (
        (add_third, remove_third) if action == "add" else (lambda: remove(tree, [name]), add_third)
    )
    for _ in killed_at_random_moments(killed, 100 if action == "add" else 40, prepare=prepare, seed=3):
        report = verify(LocalStream(Tree(tree.path)))
        assert not [each for each in report.problems if each.code not in ("stray", "index-products")]
        assert "20260101_0000" in versions(tree), "no action touches this image"
    prune(tree, grace=0)
    prune(tree, grace=0)
    checked(tree)


# the child only changes files, and ends without running anything of pytest's
@pytest.mark.in_memory
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("action", ["add", "remove", "prune"])
@pytest.mark.slow
def test_a_tree_stays_valid_if_its_writer_stops_anywhere(tmp_path, action):
    """The test kills the writer at every system call that changes a name, so the writer cannot clean up."""
    pairs = images(tmp_path / "images", 3)
    first = Tree(str(tmp_path / "tree"))
    for meta, root in pairs[:2]:
        add(first, meta, [root])
    shutil.move(first.path, tmp_path / "first")
    tree = Tree(first.path)
    shutil.copytree(tmp_path / "first", tree.path)
    for moment in stopped_at_each_call(lambda: ACTIONS[action](Tree(tree.path), pairs[2])):
        report = verify(LocalStream(Tree(tree.path)))
        assert not [each for each in report.problems if each.code not in ("stray", "index-products")]
        assert "20260102_0000" in versions(tree)
        shutil.rmtree(tree.path)
        shutil.copytree(tmp_path / "first", tree.path)
    assert moment > 3


ACTIONS = {
    "add": lambda tree, pair: add(tree, pair[0], [pair[1]]),
    "remove": lambda tree, pair: remove(tree, ["tiny:1:amd64:default@20260101_0000"]),
    "prune": lambda tree, pair: prune(tree, keep=1, grace=0),
}


@pytest.mark.in_memory
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_no_change_is_lost_if_two_processes_write(tmp_path):
    """Both processes use the same root filesystems. The second process also deletes unused files at once."""
    tree = Tree(str(tmp_path / "tree"))
    old = images(tmp_path / "old", 10, variant="old")
    new = images(tmp_path / "new", 10, variant="new")
    for meta, root in old:
        add(tree, meta, [root])

    def add_new():
        for meta, root in new:
            add(Tree(tree.path), meta, [root])

    def remove_old():
        for version in sorted(versions(tree))[:10]:
            remove(Tree(tree.path), [f"tiny:1:amd64:old@{version}"])
            prune(Tree(tree.path), grace=0)

    for pid in [forked(add_new), forked(remove_old)]:
        assert ended(pid) == 0
    (product,) = json.loads(tree.read(IMAGES_PATH))["products"].values()
    assert product["variant"] == "new"
    assert len(product["versions"]) == 10
    checked(tree)


@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize("action", ["add", "remove", "prune"])
def test_a_full_disk_leaves_the_image_tree_unchanged(tmp_path, monkeypatch, action, call):
    tree = Tree(str(tmp_path / "tree"))
    pairs = images(tmp_path / "images", 3)
    for meta, root in pairs[:2]:
        add(tree, meta, [root])
    before = {path: path.read_bytes() for path in Path(tree.path).rglob("*") if path.is_file()}

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(TemplaterError, match="no space left on device") as raised:
            ACTIONS[action](tree, pairs[2])
    assert raised.value.exit_code == 6
    assert {path: path.read_bytes() for path in Path(tree.path).rglob("*") if path.is_file()} == before
    checked(tree)
    ACTIONS[action](tree, pairs[2])
    checked(tree)


def damaged(tree, change):
    path = Path(tree.path, IMAGES_PATH)
    document = json.loads(path.read_text())
    change(document["products"])
    path.write_text(json.dumps(document))


NO_OBJECTS = [None, [], "x", 1]
WRONG = [(key, value) for key in ("product", "versions", "version", "items", "item") for value in NO_OBJECTS]


@pytest.mark.parametrize(("key", "value"), [*WRONG, ("aliases", ["a"]), ("aliases", 1)])
def test_a_writer_refuses_a_catalog_with_wrong_types(tmp_path, key, value):
    tree = Tree(str(tmp_path / "tree"))
    pairs = images(tmp_path / "images", 2)
    add(tree, pairs[0][0], [pairs[0][1]])

    def change(products):
        product = products["tiny:1:amd64:default"]
        version = product["versions"]["20260101_0000"]
        target, name = {
            "product": (products, "tiny:1:amd64:default"),
            "versions": (product, "versions"),
            "version": (product["versions"], "20260101_0000"),
            "items": (version, "items"),
            "item": (version["items"], "squashfs"),
            "aliases": (product, "aliases"),
        }[key]
        target[name] = value

    damaged(tree, change)
    before = tree.read(IMAGES_PATH)
    for action in (
        lambda: add(tree, pairs[1][0], [pairs[1][1]]),
        lambda: prune(tree, keep=1),
        lambda: remove(tree, ["0" * 64]),
    ):
        with pytest.raises(InputError, match="invalid catalog"):
            action()
    assert tree.read(IMAGES_PATH) == before


@pytest.mark.parametrize(
    "index", ["[]", '{"index": []}', '{"index": {"a": {"datatype": "image-downloads"}}}']
)
def test_a_writer_refuses_an_index_with_values_of_wrong_types(tmp_path, index):
    tree = Tree(str(tmp_path / "tree"))
    (pair,) = images(tmp_path / "images", 1)
    tree.create()
    Path(tree.path, INDEX_PATH).write_text(index)
    with pytest.raises(InputError, match="invalid catalog"):
        add(tree, pair[0], [pair[1]])
    assert Path(tree.path, INDEX_PATH).read_text() == index


def lead_outside(folder, outside):
    """Exchange a directory with a symlink, as the owner of a tree can do while root writes into it."""
    folder.rename(f"{folder}.moved")
    folder.symlink_to(outside)


@pytest.mark.parametrize("name", ["images", "streams/v1"])
def test_no_file_is_published_through_a_directory_that_becomes_a_link(tmp_path, monkeypatch, name):
    tree = Tree(str(tmp_path / "tree"))
    pairs = images(tmp_path / "images", 2)
    add(tree, pairs[0][0], [pairs[0][1]])
    outside = tmp_path / "outside"
    outside.mkdir()
    original, folder = module.Output.publish, Path(tree.path, name)

    def publish(output, path, **options):
        if os.path.realpath(os.path.dirname(path)) == os.path.realpath(folder) and not folder.is_symlink():
            lead_outside(folder, outside)
        original(output, path, **options)

    monkeypatch.setattr(module.Output, "publish", publish)
    with contextlib.suppress(TemplaterError):
        add(tree, pairs[1][0], [pairs[1][1]])
    assert folder.is_symlink()
    assert not list(outside.iterdir())


def test_no_file_is_deleted_through_a_directory_that_becomes_a_link(tmp_path, monkeypatch):
    tree = Tree(str(tmp_path / "tree"))
    tree.create()
    folder, outside = Path(tree.path, "x"), tmp_path / "outside"
    for each in (folder, outside):
        each.mkdir()
        (each / "f").touch()
    original = os.lstat

    def lstat(path, **options):
        found = original(path, **options)
        if str(path).endswith("/f") and not folder.is_symlink():
            lead_outside(folder, outside)
        return found

    monkeypatch.setattr(os, "lstat", lstat)
    tree.unlink("x/f")
    assert folder.is_symlink()
    assert (outside / "f").exists()
    assert not Path(tree.path, "x.moved/f").exists()
    with pytest.raises(RefusedError, match=r"^'.*' is reached through a symlink$"):
        tree.unlink("x/f")


def test_operations_stay_in_the_locked_tree(tmp_path):
    tree, outside = Tree(str(tmp_path / "tree")), tmp_path / "outside"
    tree.create()
    Tree(str(outside)).create()
    names = ["x/f", f"images/{'0' * 64}.squashfs", REMOVED]
    for each in (Path(tree.path), outside):
        (each / "x").mkdir()
        for name in names:
            (each / name).write_text("{}")
    with tree.lock():
        lead_outside(Path(tree.path), outside)
        for path in (names[0], *tree.content_files()):
            tree.unlink(path)
        record_removed(tree, {"y": 1})
        assert read_removed(tree) == {"y": 1}
    assert [(outside / name).read_text() for name in names] == ["{}"] * 3
    moved = tmp_path / "tree.moved"
    assert [(moved / name).exists() for name in names] == [False, False, True]
    assert read_removed(tree) == {}


@pytest.mark.parametrize(
    ("limit", "most", "said"),
    [
        ("MOST_BYTES_OF_ALL", 2000, "the catalog has more than 0 MiB"),
        ("MOST_VALUES_OF_ALL", 300, "the catalog has more than 300 values"),
        ("MOST_VALUES", 100, "'0.json' has more than 100 values"),
        ("MOST_FILES", 2, "the index has more than 2 entries"),
    ],
)
def test_a_writer_refuses_a_catalog_that_is_too_large_in_total(tmp_path, monkeypatch, limit, most, said):
    tree = Tree(str(tmp_path / "tree"))
    tree.create()
    entries = {str(number): {"datatype": DOWNLOADS, "path": f"{number}.json"} for number in range(3)}
    Path(tree.path, INDEX_PATH).write_text(json.dumps({"index": entries}))
    for number in range(3):
        document = {"products": {}, "unknown": [*[0] * 120, "x" * 500]}
        Path(tree.path, f"{number}.json").write_text(json.dumps(document))
    assert len(tree.load().files) == 3
    monkeypatch.setattr(catalog_decoder, limit, most)
    with pytest.raises(LimitError, match=said):
        tree.load()


@pytest.mark.parametrize("path", ["link/images.json", "streams/v1/index.json", "../images.json"])
def test_a_products_file_outside_the_tree_is_never_written(tmp_path, path):
    tree = Tree(str(tmp_path / "tree"))
    pairs = images(tmp_path / "images", 2)
    add(tree, pairs[0][0], [pairs[0][1]])
    (tmp_path / "outside").mkdir()
    Path(tree.path, "link").symlink_to(tmp_path / "outside")
    for place in (tmp_path / "outside/images.json", tmp_path / "images.json"):
        place.write_bytes(tree.read(IMAGES_PATH))
    index = json.loads(tree.read(INDEX_PATH))
    index["index"]["images"]["path"] = path
    Path(tree.path, INDEX_PATH).write_text(json.dumps(index))
    with pytest.raises(TemplaterError) as raised:
        remove(tree, ["tiny:1:amd64:default"])
    assert raised.value.exit_code in (2, 3)
    for place in (tmp_path / "outside/images.json", tmp_path / "images.json"):
        assert place.read_bytes() == tree.read(IMAGES_PATH)


def test_a_symlink_leads_only_to_files_of_the_tree(tmp_path):
    tree = Tree(str(tmp_path / "tree"))
    tree.create()
    (tmp_path / "outside").mkdir()
    for place in ("tree/images/a", "tree-a", "outside/a"):
        (tmp_path / place).write_text("a")
    for name, target in {
        "link": "images/a",
        "folder": "images",
        "beside": "../tree-a",
        "out": "../outside",
    }.items():
        Path(tree.path, name).symlink_to(target)
    assert tree.locate("link") == tree.locate("folder/a") == f"{tree.path}/images/a"
    for path in ("beside", "out/a", "out"):
        with pytest.raises(RefusedError) as caught:
            tree.locate(path)
        assert caught.value.message == f"'{tree.path}/{path}' leads out of the tree through a symlink"


def test_a_catalog_file_of_exactly_the_size_limit_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    tree = Tree(str(tmp_path))
    assert tree.read("a", 5) == b"12345"
    with pytest.raises(InputError, match=r"^'a' has 5 bytes, more than the limit of 4$"):
        tree.read("a", 4)


def write_product(tree, document):
    Path(tree.path, INDEX_PATH).write_text(
        json.dumps({"index": {"images": {"datatype": "image-downloads", "path": IMAGES_PATH}}})
    )
    if document is not None:
        Path(tree.path, IMAGES_PATH).write_text(document)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (None, "the file is missing, but the index names it"),
        ("[]", "the file, or its key 'products', is not a JSON object"),
        ('{"products": []}', "the file, or its key 'products', is not a JSON object"),
    ],
)
def test_the_error_for_an_unusable_products_file_suggests_the_verify_command(tree, document, why):
    tree.create()
    write_product(tree, document)
    with pytest.raises(InputError) as raised:
        tree.load()
    assert raised.value.message == f"invalid catalog '{tree.path}/{IMAGES_PATH}': {why}"
    assert raised.value.hint == f"templater streams verify {tree.path}"


def test_an_error_about_an_image_tree_contains_the_refused_path(tree, tmp_path):
    images = f"{tree.path}/images"
    Path(tree.path).mkdir()
    Path(images).write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "bare").mkdir()

    def refused(kind, action, *arguments):
        with pytest.raises(TemplaterError) as raised:
            action(*arguments)
        assert type(raised.value) is kind
        return raised.value.message

    assert refused(RefusedError, tree.create) == f"'{images}' is not a directory"
    os.unlink(images)
    tree.create()
    for name in ("a", IMAGES_PATH, REMOVED):
        Path(tree.path, name).mkdir()
    assert refused(RefusedError, tree.size, "../a") == "the path '../a' leads out of the tree"
    assert refused(InputError, tree.size, "a") == f"'{tree.path}/a' is not a regular file"
    catalog = Catalog({"index": {}}, {IMAGES_PATH: {"products": {}}}, {IMAGES_PATH})
    assert refused(RefusedError, tree.save, catalog) == f"'{tree.path}/{IMAGES_PATH}' is not a regular file"
    assert refused(RefusedError, record_removed, tree, {}) == f"'{tree.path}/{REMOVED}' is not a regular file"
    for path in (IMAGES_PATH, ".templater/lock"):
        assert refused(RefusedError, tree.unlink, path) == f"'{path}' is not an image file"
    assert refused(RefusedError, tree.unlink, "a") == f"'{tree.path}/a' is not a regular file"
    assert tree.unlink("images/missing") == 0
    os.rmdir(f"{tree.path}/{REMOVED}")
    Path(tree.path, REMOVED).write_text("[]")
    assert refused(InputError, read_removed, tree) == f"'{tree.path}/{REMOVED}' is not a JSON object"
    long = "x" * 256
    with pytest.raises(FileNotFoundError):
        tree.size(long)
    below = Tree(str(tmp_path / "file" / "tree"))
    assert (
        refused(WriteError, below.create) == f"'{below.path}' can't be opened as a directory: not a directory"
    )
    assert refused(InputError, below.check) == f"'{below.path}' is not a directory"
    bare = Tree(str(tmp_path / "bare"))
    assert refused(InputError, bare.check) == f"'{bare.path}' is not a simplestreams tree"


def test_a_large_catalog_is_written_in_limited_pieces(monkeypatch):
    monkeypatch.setattr(module, "_PIECE", 4)
    assert list(module._join([b"ab", b"c", b"d", b"efgh", b"i"])) == [b"abcd", b"efgh", b"i"]
    assert list(module._join([])) == [b""]


@pytest.mark.parametrize(("nested", "found"), [(20, True), (21, False)])
def test_a_file_in_too_many_nested_directories_is_refused(tmp_path, nested, found):
    path = "d/" * nested + "x"
    os.makedirs(os.path.dirname(tmp_path / path))
    (tmp_path / path).write_text("text")
    tree = Tree(str(tmp_path))
    if found:
        assert tree.size(path) == 4
        return
    with pytest.raises(InputError, match="is a path of more than 20 nested directories"):
        tree.size(path)


@pytest.mark.parametrize(("links", "found"), [(30, True), (200, False)])
@pytest.mark.parametrize("detour", ["", "a/../" * 800])
def test_a_too_long_chain_of_links_is_refused(tmp_path, links, found, detour):
    (tmp_path / "a").mkdir()
    (tmp_path / f"c{links}").write_text("text")
    for number in range(links):
        os.symlink(f"{detour}c{number + 1}", tmp_path / f"c{number}")
    with ends_within(0.2):
        tree = Tree(str(tmp_path))
        if found:
            assert tree.size("c0") == 4
        else:
            with pytest.raises(InputError, match="can't be opened: too many levels of symbolic links"):
                tree.size("c0")


def test_a_dangling_link_is_treated_as_a_missing_file(tmp_path):
    os.symlink("nowhere", tmp_path / "a")
    os.symlink("a/b", tmp_path / "b")
    for name in ("a", "b", "a/b"):
        with pytest.raises(FileNotFoundError):
            Tree(str(tmp_path)).size(name)


def test_the_real_path_is_found_on_systems_without_o_path(tmp_path, monkeypatch):
    (tmp_path / "real").write_text("")
    (tmp_path / "link").symlink_to("real")
    monkeypatch.delattr(os, "O_PATH", raising=False)
    assert real_path(str(tmp_path / "link")) == str((tmp_path / "real").resolve())


def test_the_real_path_is_found_while_another_process_replaces_the_file(tmp_path, monkeypatch):
    path, real = tmp_path / "index.json", os.readlink
    path.write_text("old")

    def replaced(name):
        if path.read_text() == "old":
            (tmp_path / "new").write_text("new")
            (tmp_path / "new").rename(path)
        return real(name)

    monkeypatch.setattr(os, "readlink", replaced)
    assert real_path(str(path)) == str(path.resolve())
    assert path.read_text() == "new"


@pytest.mark.parametrize(
    ("call", "run", "message"),
    [
        ("mkdir", lambda tree: tree.create(), "can't create the tree '{}': input/output error"),
        ("fsync", lambda tree: tree.sync_images(), "can't write '{}/images': input/output error"),
        (
            "unlink",
            lambda tree: tree.unlink("images/f"),
            "'{}/images/f' can't be deleted: input/output error",
        ),
    ],
)
def test_a_system_error_contains_the_path(call, run, message, tree, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    tree.create()
    Path(tree.path, "images/f").write_text("text")
    for each in (os, oslite.os):
        monkeypatch.setattr(each, call, fail)
    with pytest.raises(WriteError) as caught:
        run(tree)
    assert caught.value.message == message.format(tree.path)


@pytest.mark.parametrize("text", ["old\n", "new\n", "longer\n"])
def test_a_json_file_is_replaced_unless_its_content_is_the_same(text, tree):
    tree.create()
    path = Path(tree.path, "streams/v1/a.json")
    path.write_text("old\n")
    before = path.stat().st_ino
    tree.write_json("streams/v1/a.json", [text[:1].encode(), text[1:].encode()])
    assert (path.read_text(), path.stat().st_ino == before) == (text, text == "old\n")


def test_only_image_files_are_deleted_from_a_tree(tree):
    tree.create()
    Path(tree.path, "images/f").write_text("text")
    Path(tree.path, "images/folder").mkdir()
    assert (tree.unlink("images/f"), tree.unlink("images/f")) == (4, 0)
    for path, message in (
        ("images/folder", f"'{tree.path}/images/folder' is not a regular file"),
        ("streams/v1/index.json", "'streams/v1/index.json' is not an image file"),
        (f"{module.STATE_FOLDER}/x", f"'{module.STATE_FOLDER}/x' is not an image file"),
    ):
        with pytest.raises(RefusedError) as caught:
            tree.unlink(path)
        assert caught.value.message == message
