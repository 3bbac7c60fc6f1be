"""Where images come from: the files below a tree, the public images of the store, and given files."""

import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from templater.distribution import serve_limits
from templater.distribution.add_to_tree import add
from templater.distribution.catalog_decoder import IMAGES_PATH
from templater.distribution.store import UNUSED, Store
from templater.distribution.tree import Tree
from templater.image.describe import describe
from templater.model.errors import InputError, LimitError, UsageError
from templater.serving import local_images, served_tree
from templater.serving.generated_stream import listing_of
from templater.serving.local_images import FilesSource, StoreSource
from templater.serving.served_tree import TreeSource, open_beneath
from tests.streams.builders import CREATED, DAY, QCOW2, split_image, unified_image


def text(fd: int) -> str:
    with os.fdopen(fd) as file:
        return file.read()


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    (root / "images/deep").mkdir(parents=True)
    (root / ".templater").mkdir()
    for name in ("images/file", "images/deep/file", ".templater/removed.json", "images/.hidden"):
        (root / name).write_text(name)
    (tmp_path / "secret").write_text("secret")
    return root


def beneath(root, path):
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return open_beneath(directory, path)
    finally:
        os.close(directory)


def test_files_below_the_root_of_a_served_tree_can_be_opened(root):
    assert text(beneath(root, "/images/deep/file")) == "images/deep/file"
    assert text(beneath(root, "images//deep/../file")) == "images/file"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_private_file_of_root_in_the_tree_of_another_user_is_not_found(root):
    """The user had moved the file there, and the server sent its content to everyone."""
    for path in (root, root / "images"):
        os.chown(path, 1234, 1234)
    for path, mode, public in (("images/file", 0o600, 0o644), ("images/deep", 0o700, 0o755)):
        name = "images/deep/file" if path == "images/deep" else path
        (root / path).chmod(mode)
        with pytest.raises(FileNotFoundError):
            beneath(root, name)
        (root / path).chmod(public)
        assert text(beneath(root, name)) == name
    (root / "images/deep/file").chmod(0o600)  # the directory of root can have had another name
    with pytest.raises(FileNotFoundError):
        beneath(root, "images/deep/file")
    (root / "images/file").chmod(0o600)
    os.chown(root / "images/file", 1234, 1234)
    assert text(beneath(root, "images/file")) == "images/file"


@pytest.mark.parametrize(
    "path",
    ["", "/", ".", "..", "../secret", "/../secret", "images/../../secret", "images", "images/deep/", "absent", "images/file/x",
     "a\0b", "x" * 300, "y/" * 3000, ".templater/removed.json", "images/.hidden", "images/../.templater/removed.json"],
)  # fmt: skip
def test_a_path_outside_the_public_files_of_a_tree_is_not_found(root, path):
    with pytest.raises(FileNotFoundError):
        beneath(root, path)


def test_a_link_in_a_served_tree_is_followed_only_inside_the_tree(root, tmp_path):
    links = {
        "inside": "images/file", "up": "images/deep/../file", "folder": "images/deep", "out": "../secret",
        "absolute": str(tmp_path / "secret"), "parent": "..", "hidden": ".templater/removed.json", "loop": "loop",
        "self": str(root / "images/file"),
    }  # fmt: skip
    for name, target in links.items():
        (root / name).symlink_to(target)
    for name in ("inside", "up", "self", "folder/file"):
        assert text(beneath(root, name)).startswith("images/")
    for name in ("out", "absolute", "parent/secret", "hidden", "loop", "loop/x"):
        with pytest.raises(FileNotFoundError):
            beneath(root, name)


def test_a_directory_that_becomes_a_link_while_it_is_opened_is_not_followed(root, tmp_path, monkeypatch):
    """The real path is computed first; a component that changes afterwards must not be followed."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("secret")
    real = os.open

    def swap(path, *arguments, **options):
        if path == "deep":
            shutil.rmtree(root / "images/deep")
            (root / "images/deep").symlink_to(tmp_path / "outside")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(FileNotFoundError):
        beneath(root, "images/deep/file")


def test_a_fifo_in_a_served_tree_is_not_opened(root):
    os.mkfifo(root / "fifo")
    with pytest.raises(FileNotFoundError):
        beneath(root, "fifo")


def test_a_path_that_cannot_be_served_leaks_no_file_descriptor(root):
    before = len(os.listdir("/proc/self/fd"))
    for path in ("images/deep/file", "images/absent/x", "images/deep", "images/file/x"):
        with suppress(FileNotFoundError):
            os.close(beneath(root, path))
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_server_keeps_the_opened_tree_even_if_a_link_replaces_the_directory(tree, tmp_path):
    """The owner of a directory above the tree could lead the server to any file, such as /etc/shadow."""
    source = TreeSource(str(tree))
    (file, *_) = source.load().images[0].files
    (tmp_path / "other").mkdir()
    (tmp_path / "other/secret").write_text("secret")
    tree.rename(tmp_path / "moved")
    tree.symlink_to(tmp_path / "other")
    with pytest.raises(FileNotFoundError):
        source.open("secret")
    os.close(source.open(file.path))
    assert not source.changed()
    assert len(source.load().images) == 4


def test_the_server_loads_a_tree_again_after_its_catalog_was_replaced(tree):
    source = TreeSource(str(tree))
    assert len(source.load().images) == 4
    assert not source.changed()
    catalog = tree / "streams/v1/images.json"
    (tree / "new").write_bytes(catalog.read_bytes().replace(b"tiny:1:amd64:vm", b"tiny:1:amd64:gone"))
    (tree / "new").rename(catalog)
    assert source.changed()
    source.load()
    assert not source.changed()


def test_a_catalog_that_changes_while_the_server_reads_it_is_loaded_again(tree, monkeypatch):
    catalog, read = tree / "streams/v1/images.json", served_tree.read_products
    source = TreeSource(str(tree))

    def read_products(stream):
        found = read(stream)
        os.utime(catalog)
        return found

    monkeypatch.setattr(served_tree, "read_products", read_products)
    source.load()
    assert source.changed()


def test_an_invalid_catalog_is_loaded_again_only_after_it_has_changed(tree):
    source = TreeSource(str(tree))
    source.load()
    catalog = tree / "streams/v1/images.json"
    whole = catalog.read_bytes()
    catalog.write_bytes(b"{")
    assert source.changed()
    with pytest.raises(InputError):
        source.load()
    assert not source.changed()
    catalog.write_bytes(whole)
    assert source.changed()


def test_a_tree_whose_catalog_exceeds_the_size_limit_is_not_served(tree, monkeypatch):
    size = sum((tree / "streams/v1" / name).stat().st_size for name in ("index.json", "images.json"))
    monkeypatch.setattr(serve_limits, "MOST_OF_CATALOG", size)
    assert TreeSource(str(tree)).load().images
    monkeypatch.setattr(serve_limits, "MOST_OF_CATALOG", size - 1)
    with pytest.raises(LimitError, match=r"^the catalog has more than 0 MiB$"):
        TreeSource(str(tree)).load()


def test_the_aliases_of_a_product_are_computed_once_for_all_its_versions(tree, tmp_path, monkeypatch):
    for number in range(1, 4):
        add(Tree(str(tree)), unified_image(tmp_path / str(number), created=CREATED + number * DAY))
    calls = []
    original = served_tree.client_aliases
    monkeypatch.setattr(
        served_tree, "client_aliases", lambda product: (calls.append(product.name), original(product))[1]
    )
    assert sum(image.unified for image in TreeSource(str(tree)).load().images) >= 3
    assert calls
    assert len(calls) <= 2 * len(set(calls)), "once for each of two clients"


def test_images_whose_files_are_on_another_server_are_not_in_the_image_api(tree):
    assert TreeSource(str(tree), ["images/"]).load().images == ()


# the store


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


@pytest.fixture
def messages():
    return []


def test_only_public_images_of_the_store_are_listed(store, tmp_path, messages):
    public = store.import_files(*split_image(tmp_path / "a"), aliases=["one", "two"], public=True)
    private = store.import_files(unified_image(tmp_path / "b", variant="other"), aliases=["secret"])
    source = StoreSource(messages.append, store)
    with pytest.raises(FileNotFoundError):
        source.open("images/x")  # before the first list
    listing = source.load()
    assert [image.fingerprint for image in listing.images] == [public.fingerprint]
    assert listing.images[0].aliases == ("one", "two")
    everything = b"".join(b"".join(each) for each in listing.lists).decode()
    assert private.fingerprint not in everything
    assert "secret" not in everything
    for file in listing.images[0].files:
        os.close(source.open(f"/{file.path}"))
    with pytest.raises(FileNotFoundError):
        source.open(f"images/{private.metadata}.tar")
    assert not messages


def test_making_an_image_private_removes_the_image_from_the_served_list(store, tmp_path, messages):
    image = store.import_files(unified_image(tmp_path / "a"), aliases=["one"], public=True)
    source = StoreSource(messages.append, store)
    (served,) = source.load().images
    store.change("one", lambda each: replace(each, public=False))
    assert source.changed()
    assert source.load().images == ()
    with pytest.raises(FileNotFoundError):
        source.open(served.files[0].path)
    assert image.fingerprint == served.fingerprint


def test_a_store_that_changes_while_the_server_reads_it_is_loaded_again(
    store, tmp_path, messages, monkeypatch
):
    store.import_files(unified_image(tmp_path / "a"), aliases=["one"], public=True)
    source = StoreSource(messages.append, store)

    def listing(*given):
        store.change("one", lambda each: replace(each, public=False))
        return listing_of(*given)

    with monkeypatch.context() as patched:
        patched.setattr(local_images, "listing_of", listing)
        source.load()
    assert source.changed()
    assert source.load().images == ()
    assert not source.changed()


def test_a_store_that_could_not_be_read_is_loaded_again(store, tmp_path, messages, monkeypatch):
    store.import_files(unified_image(tmp_path / "a"), aliases=["one"], public=True)
    source = StoreSource(messages.append, store)
    source.load()
    store.change("one", lambda each: replace(each, public=False))
    with monkeypatch.context() as patched:
        patched.setattr(store, "images", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            source.load()
    assert source.changed()


def test_the_stream_of_the_store_lists_the_aliases_of_the_newest_version(store, tmp_path, messages):
    """A product has one set of aliases for all its versions."""
    store.import_files(*split_image(tmp_path / "new", created=CREATED + DAY), aliases=["new"], public=True)
    store.import_files(*split_image(tmp_path / "old"), aliases=["old"], public=True)
    listing = StoreSource(messages.append, store).load()
    assert len(listing.images) == 2
    assert b'"aliases":"new"' in b"".join(listing.documents["streams/v1/images.json"])
    assert set(listing.aliases) == {"new", "old"}


def test_an_image_that_simplestreams_cannot_describe_appears_only_in_the_image_api(store, tmp_path, messages):
    store.import_files(unified_image(tmp_path / "vm", rootfs="rootfs.img"), aliases=["vm"], public=True)
    listing = StoreSource(messages.append, store).load()
    assert listing.aliases["vm"].type == "virtual-machine"
    assert list(listing.documents) == ["streams/v1/index.json"]
    assert "unified virtual machine" in messages[0]


def test_a_missing_file_in_the_store_hides_only_the_image_that_needs_it(store, tmp_path, messages):
    image = store.import_files(unified_image(tmp_path / "a"), aliases=["a"], public=True)
    store.import_files(unified_image(tmp_path / "b", variant="b"), aliases=["b"], public=True)
    os.unlink(store.file(image.metadata))
    assert set(StoreSource(messages.append, store).load().aliases) == {"b"}
    assert f"the image {image.fingerprint[:12]} is not served" in messages[0]


def test_serving_a_fetched_image_updates_the_time_of_its_last_use(store, tmp_path, messages):
    image = store.import_files(*split_image(tmp_path / "a"), aliases=["a"], public=True)
    other = store.import_files(unified_image(tmp_path / "b", variant="b"), aliases=["b"], public=True)
    long_ago = int(time.time()) - UNUSED - 100
    for name in ("a", "b"):
        store.change(name, lambda old: replace(old, cached=True, used=long_ago))
    source = StoreSource(messages.append, store)
    (served,) = (each for each in source.load().images if each.fingerprint == image.fingerprint)
    os.close(source.open(served.files[1].path))
    source.load()
    assert store.find("a").used > long_ago + UNUSED
    os.close(source.open(served.files[0].path))
    assert not source.changed(), "the use is not recorded again within an hour"
    assert [each.fingerprint for each in store.prune()] == [other.fingerprint]


def test_serving_an_imported_image_does_not_make_the_server_load_the_store_again(store, tmp_path, messages):
    store.import_files(unified_image(tmp_path / "a"), aliases=["a"], public=True)
    source = StoreSource(messages.append, store)
    (served,) = source.load().images
    os.close(source.open(served.files[0].path))
    assert not source.changed()


# files


def test_image_files_get_the_aliases_that_the_streams_add_command_gives(tmp_path, messages):
    first, second = split_image(tmp_path / "a")
    machine = split_image(tmp_path / "vm", root=QCOW2, variant="vm")
    unified = unified_image(tmp_path / "b", variant="unified")
    listing = FilesSource([first, second, unified, *machine], [], messages.append).load()
    assert set(listing.aliases) == {"tiny/1", "tiny/1/default", "tiny/1/unified", "tiny/1/vm"}
    assert listing.aliases["tiny/1/vm"].type == "virtual-machine"
    assert not messages


def test_additional_aliases_require_exactly_one_served_image(tmp_path, messages):
    listing = FilesSource([unified_image(tmp_path)], ["mine"], messages.append).load()
    assert set(listing.aliases) == {"mine", "tiny/1", "tiny/1/default"}
    with pytest.raises(UsageError, match=r"^--alias needs exactly one image$"):
        FilesSource([unified_image(tmp_path / "x")] * 2, ["mine"], messages.append)


def test_the_metadata_of_a_split_image_needs_a_second_file(tmp_path, messages):
    with pytest.raises(UsageError, match="without a root filesystem") as caught:
        FilesSource(split_image(tmp_path)[:1], [], messages.append)
    assert caught.value.hint == "give both files: the metadata tarball, then the root filesystem"
    with pytest.raises(InputError):
        FilesSource(split_image(tmp_path)[1:], [], messages.append)


def test_an_image_file_is_not_served_after_it_has_changed(tmp_path, messages):
    path = unified_image(tmp_path)
    source = FilesSource([path], [], messages.append)
    (image,) = source.load().images
    os.close(source.open(image.files[0].path))
    with open(path, "ab") as file:
        file.write(b"more")
    with pytest.raises(FileNotFoundError):
        source.open(image.files[0].path)


def test_a_link_that_replaces_an_image_file_is_never_served(tmp_path, messages, monkeypatch):
    """The owner of the file's directory could link to any file of root, which the server then sent."""
    path = unified_image(tmp_path)
    (tmp_path / "private").write_text("private")

    def replaced(*given, **options):
        found = describe(*given, **options)
        os.unlink(path)
        os.symlink(tmp_path / "private", path)
        return found

    monkeypatch.setattr(local_images, "describe", replaced)
    size = os.path.getsize(path)
    source = FilesSource([path], [], messages.append)
    ((file,),) = [image.files for image in source.load().images]
    assert file.size == size
    with pytest.raises(FileNotFoundError):
        source.open(file.path)
    assert not messages


def test_an_image_without_a_name_appears_only_in_the_image_api(tmp_path, messages):
    listing = FilesSource([unified_image(tmp_path, os=None)], ["mine"], messages.append).load()
    assert set(listing.aliases) == {"mine"}
    assert "the image has no os" in messages[0]


def test_an_image_with_long_names_does_not_hide_other_images_from_simplestreams_clients(tmp_path, messages):
    paths = [unified_image(tmp_path / "a", os="x" * 600), unified_image(tmp_path / "b")]
    listing = FilesSource(paths, [], messages.append).load()
    assert list(json.loads(b"".join(listing.documents[IMAGES_PATH]))["products"]) == ["tiny:1:amd64:default"]
    assert "has more than 512 characters" in messages[0]
