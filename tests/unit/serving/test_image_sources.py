"""Sources of images: files below a tree, public images of the store, given files, and generated streams."""

import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from datetime import date

import pytest

from templater.distribution import catalog_limits
from templater.distribution.add_to_tree import add
from templater.distribution.catalog_decoder import IMAGES_PATH, INDEX_PATH, Item, Product, Version
from templater.distribution.client_image_list import Image
from templater.distribution.store import UNUSED, Store
from templater.distribution.tree import Tree
from templater.image.describe import describe
from templater.model.errors import InputError, LimitError, UsageError
from templater.model.metadata import Metadata
from templater.serving import image_sources
from templater.serving.image_sources import (
    FilesSource,
    LocalImage,
    PublicFiles,
    StoreSource,
    TreeSource,
    _from_tree,
    listing_of,
    open_beneath,
)
from templater.serving.served_image import File, Served
from tests.streams.builders import CREATED, DAY, QCOW2, SQUASHFS, split_image, unified_image


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
def test_roots_private_file_in_foreign_tree_is_not_found(root):
    """A user had moved a private file of root into the tree, and the server sent its content to everyone."""
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
def test_path_outside_public_files_of_tree_is_not_found(root, path):
    with pytest.raises(FileNotFoundError):
        beneath(root, path)


def test_served_links_are_followed_only_inside_the_tree(root, tmp_path):
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


def test_a_link_that_replaces_a_directory_is_not_followed(root, tmp_path, monkeypatch):
    """The server first computes the real path.

    It must not follow a path component that changes afterwards.
    """
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


def test_an_unservable_path_leaks_no_file_descriptor(root):
    before = len(os.listdir("/proc/self/fd"))
    for path in ("images/deep/file", "images/absent/x", "images/deep", "images/file/x"):
        with suppress(FileNotFoundError):
            os.close(beneath(root, path))
    assert len(os.listdir("/proc/self/fd")) == before


def test_server_keeps_opened_tree_if_a_link_replaces_it(tree, tmp_path):
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


def test_a_catalog_is_loaded_again_if_it_changes_during_loading(tree, monkeypatch):
    catalog, read = tree / "streams/v1/images.json", image_sources.read_products
    source = TreeSource(str(tree))

    def read_products(stream):
        found = read(stream)
        os.utime(catalog)
        return found

    monkeypatch.setattr(image_sources, "read_products", read_products)
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


def test_a_tree_with_an_oversized_catalog_is_not_served(tree, monkeypatch):
    size = sum((tree / "streams/v1" / name).stat().st_size for name in ("index.json", "images.json"))
    monkeypatch.setattr(catalog_limits, "MOST_OF_CATALOG", size)
    assert TreeSource(str(tree)).load().images
    monkeypatch.setattr(catalog_limits, "MOST_OF_CATALOG", size - 1)
    with pytest.raises(LimitError, match=r"^the catalog has more than 0 MiB$"):
        TreeSource(str(tree)).load()


def test_aliases_are_computed_once_for_all_versions(tree, tmp_path, monkeypatch):
    for number in range(1, 4):
        add(Tree(str(tree)), unified_image(tmp_path / str(number), created=CREATED + number * DAY))
    calls = []
    original = image_sources.client_aliases
    monkeypatch.setattr(
        image_sources, "client_aliases", lambda product: (calls.append(product.name), original(product))[1]
    )
    assert sum(image.unified for image in TreeSource(str(tree)).load().images) >= 3
    assert calls
    assert len(calls) <= 2 * len(set(calls)), "once for each of two clients"


def test_the_image_api_omits_images_with_files_on_another_server(tree):
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


def test_a_store_is_loaded_again_if_it_changes_during_loading(store, tmp_path, messages, monkeypatch):
    store.import_files(unified_image(tmp_path / "a"), aliases=["one"], public=True)
    source = StoreSource(messages.append, store)

    def listing(*given):
        store.change("one", lambda each: replace(each, public=False))
        return listing_of(*given)

    with monkeypatch.context() as patched:
        patched.setattr(image_sources, "listing_of", listing)
        source.load()
    assert source.changed()
    assert source.load().images == ()
    assert not source.changed()


def test_a_store_is_loaded_again_after_a_failed_load(store, tmp_path, messages, monkeypatch):
    store.import_files(unified_image(tmp_path / "a"), aliases=["one"], public=True)
    source = StoreSource(messages.append, store)
    source.load()
    store.change("one", lambda each: replace(each, public=False))
    with monkeypatch.context() as patched:
        patched.setattr(store, "images", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            source.load()
    assert source.changed()


def test_stream_of_store_contains_only_aliases_of_newest_version(store, tmp_path, messages):
    """A product has one set of aliases for all its versions."""
    store.import_files(*split_image(tmp_path / "new", created=CREATED + DAY), aliases=["new"], public=True)
    store.import_files(*split_image(tmp_path / "old"), aliases=["old"], public=True)
    listing = StoreSource(messages.append, store).load()
    assert len(listing.images) == 2
    assert b'"aliases":"new"' in b"".join(listing.documents["streams/v1/images.json"])
    assert set(listing.aliases) == {"new", "old"}


def test_an_image_without_simplestreams_support_is_only_in_the_image_api(store, tmp_path, messages):
    store.import_files(unified_image(tmp_path / "vm", rootfs="rootfs.img"), aliases=["vm"], public=True)
    listing = StoreSource(messages.append, store).load()
    assert listing.aliases["vm"].type == "virtual-machine"
    assert list(listing.documents) == ["streams/v1/index.json"]
    assert "unified virtual machine" in messages[0]


def test_a_missing_file_in_the_store_hides_only_its_own_image(store, tmp_path, messages):
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


def test_store_is_unchanged_after_serving_an_imported_image(store, tmp_path, messages):
    store.import_files(unified_image(tmp_path / "a"), aliases=["a"], public=True)
    source = StoreSource(messages.append, store)
    (served,) = source.load().images
    os.close(source.open(served.files[0].path))
    assert not source.changed()


# files


def test_served_files_get_same_aliases_as_from_streams_add(tmp_path, messages):
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


def test_metadata_file_is_refused_without_its_root_filesystem(tmp_path, messages):
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


def test_a_link_in_place_of_an_image_file_is_never_served(tmp_path, messages, monkeypatch):
    """The owner of the file's directory could link to any file of root, which the server then sent."""
    path = unified_image(tmp_path)
    (tmp_path / "private").write_text("private")

    def replaced(*given, **options):
        found = describe(*given, **options)
        os.unlink(path)
        os.symlink(tmp_path / "private", path)
        return found

    monkeypatch.setattr(image_sources, "describe", replaced)
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


def test_an_image_with_long_names_does_not_hide_others(tmp_path, messages):
    paths = [unified_image(tmp_path / "a", os="x" * 600), unified_image(tmp_path / "b")]
    listing = FilesSource(paths, [], messages.append).load()
    assert list(json.loads(b"".join(listing.documents[IMAGES_PATH]))["products"]) == ["tiny:1:amd64:default"]
    assert "has more than 512 characters" in messages[0]


FACTS = {"os": "Tiny", "release": "1"}


@pytest.fixture
def local(tmp_path):
    """Return a function that makes an image of two files, or of one."""

    def make(
        letter="a",
        roots=(SQUASHFS,),
        *,
        created=CREATED,
        arch="x86_64",
        aliases=(),
        kind="container",
        **properties,
    ):
        paths = []
        for number, content in enumerate((b"\x1f\x8b" + letter.encode() * 600, *roots)):
            path = tmp_path / f"{letter}{number}"
            path.write_bytes(content)
            paths.append(str(path))
        facts = Metadata(arch, created, 7, {**FACTS, **properties})
        hashes = tuple(f"{letter}{number}" * 32 for number in range(len(paths)))
        return LocalImage(tuple(paths), hashes, letter * 64, kind, facts, aliases, 9)

    return make


def served(*images):
    messages = []
    listing, files = listing_of(images, messages.append)
    return listing, files, messages


def document(listing, path):
    return json.loads(b"".join(listing.documents[path]))


def test_catalog_contains_a_local_split_image_with_its_fingerprint(local):
    image = local(aliases=("x", "y"), **{"requirements.secureboot": "false", "x.requirements.y": "1"})
    listing, files, messages = served(image)
    (found,) = listing.images
    assert messages == []
    assert found == Served(
        "a" * 64, "container", "x86_64", CREATED, 7, 9, {},
        (File(f"images/{'a0' * 32}.tar.gz", 602, "a0" * 32), File(f"images/{'a1' * 32}.squashfs", 96, "a1" * 32)),
        ("x", "y"),
    )  # fmt: skip
    assert json.loads(listing.encoded(found))["properties"] == image.facts.properties
    product = document(listing, IMAGES_PATH)["products"]["tiny:1:amd64:default"]
    assert product["aliases"] == "x,y"
    assert product["requirements"] == {"secureboot": "false"}
    items = product["versions"]["20260101_0000"]["items"]
    assert set(items) == {"incus.tar.xz", "lxd.tar.xz", "squashfs"}
    assert items["lxd.tar.xz"]["combined_squashfs_sha256"] == "a" * 64
    assert document(listing, INDEX_PATH) == {
        "format": "index:1.0",
        "index": {
            "images": {
                "datatype": "image-downloads", "format": "products:1.0", "path": IMAGES_PATH,
                "products": ["tiny:1:amd64:default"],
            }
        },
    }  # fmt: skip
    for file, path in zip(found.files, image.paths, strict=True):
        with os.fdopen(files.open(f"/{file.path}"), "rb") as opened, open(path, "rb") as original:
            assert opened.read() == original.read()
    with pytest.raises(FileNotFoundError):
        files.open("images/other")


def test_newest_image_determines_the_aliases_of_its_product(local):
    listing, _, messages = served(
        local("b", created=CREATED + 86400, aliases=("new",)), local("a", aliases=("old",)),
        local("c", created=CREATED - 86400, aliases=("older",)),
    )  # fmt: skip
    assert [image.fingerprint[0] for image in listing.images] == ["b", "a", "c"]
    (product,) = document(listing, IMAGES_PATH)["products"].values()
    assert (product["aliases"], len(product["versions"]), messages) == ("new", 3, [])


def test_product_has_aliases_of_both_container_and_virtual_machine(local, tmp_path):
    first = local(aliases=("one", "both"))
    (tmp_path / "disk").write_bytes(QCOW2)
    second = replace(
        first, paths=(first.paths[0], f"{tmp_path}/disk"), hashes=(first.hashes[0], "d1" * 32),
        fingerprint="b" * 64, type="virtual-machine", aliases=("both", "two"), uploaded=0,
    )  # fmt: skip
    listing, _, messages = served(first, second)
    (product,) = document(listing, IMAGES_PATH)["products"].values()
    assert (product["aliases"], messages) == ("one,both,two", [])
    assert [image.uploaded for image in listing.images] == [CREATED, 9]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"os": " "}, "the image has no os"),
        ({"release": ""}, "the image has no release"),
        ({"created": 0}, "the image has no creation_date"),
        ({"arch": "foo\n"}, "unknown architecture 'foo\\n'"),
        ({"roots": (), "kind": "virtual-machine"}, "clients of Incus 6.0 and LXD mistake a unified virtual machine image for a container"),
        ({"os": "x" * 600}, "product 'xxxxxxxxxx"),
    ],
)  # fmt: skip
def test_only_the_image_api_has_images_that_simplestreams_clients_misread(options, why, local):
    listing, _, (message,) = served(local(**options))
    assert message.startswith(f"simplestreams clients don't see the image {'a' * 12}: ")
    assert why[:10] in message and (why in message or len(options.get("os", "")) > 2)
    assert len(listing.images) == 1
    assert list(listing.documents) == [INDEX_PATH]
    assert document(listing, INDEX_PATH)["index"] == {}


def test_an_image_with_a_missing_file_is_not_served_at_all(local):
    image, other = local("a"), local("b", variant="other")
    os.unlink(image.paths[1])
    listing, _, (message,) = served(image, other)
    assert [found.fingerprint[0] for found in listing.images] == ["b"]
    assert message == (
        f"the image {'a' * 12} is not served: '{image.paths[1]}' can't be opened: no such file or directory"
    )


@pytest.mark.parametrize("change", ["content", "other file", "fifo", "missing"])
def test_a_changed_or_replaced_public_file_is_not_opened(change, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\x1f\x8b" + bytes(600))
    files = PublicFiles()
    place = files.add(str(path), "a" * 64).path
    os.close(files.open(place))
    before = len(os.listdir("/proc/self/fd"))
    status = path.stat()
    if change == "content":
        path.write_bytes(b"\x1f\x8b" + bytes(599))
    else:
        path.unlink()
        if change == "fifo":
            os.mkfifo(path)
        elif change == "other file":
            path.write_bytes(b"\x1f\x8b" + bytes(600))
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(FileNotFoundError):
        files.open(place)
    assert len(os.listdir("/proc/self/fd")) == before


def of_catalog(root=None, dated=None, kind="squashfs", **fields):
    product = Product(
        "p",
        **{"aliases": "a,b", "arch": "amd64", "os": "Tiny", "release": "1", "release_title": "One", **fields},
    )
    item = Item("lxd.tar.xz", "x//m", 5, "m" * 64)
    image = Image(
        product,
        dated or Version("20260101_0000"),
        kind,
        "container",
        "x86_64",
        "f" * 64,
        item,
        root,
        date(2026, 1, 1),
    )
    image.aliases += ["a"]
    return image


def test_a_catalog_image_has_the_properties_that_clients_derive():
    image = of_catalog(
        Item("squashfs", "/r", 6, "r" * 64), Version("20260101_0000", "rc"), variant="cloud", version="1.1",
        support_eol="2026-02-01", requirements={"secureboot": "false"},
    )  # fmt: skip
    assert _from_tree(image, set(), {}) == Served(
        "f" * 64, "container", "x86_64", 1767225600, 1769904000, 1767225600,
        {
            "os": "Tiny", "release": "1", "version": "1.1", "architecture": "amd64", "variant": "cloud",
            "label": "rc", "serial": "20260101_0000", "type": "squashfs",
            "description": "Tiny One amd64 (cloud) (rc) (20260101_0000)", "requirements.secureboot": "false",
        },
        (File("x/m", 5, "m" * 64), File("r", 6, "r" * 64)), ("a",), (),
    )  # fmt: skip


@pytest.mark.parametrize("variant", ["", "default"])
def test_a_default_variant_is_not_in_the_description_of_an_image(variant):
    found = _from_tree(of_catalog(variant=variant), set(), {})
    assert found.properties["description"] == "Tiny One amd64 (20260101_0000)"
    assert found.expires == 0 and found.properties.get("variant", "") == variant


def test_an_import_by_name_finds_only_the_first_unified_image():
    named = set()
    first = of_catalog(None, kind="tar.gz")
    second = Image(
        first.product, Version("20250101_0000"), "tar.gz", "container", "x86_64", "e" * 64, first.metadata, None,
        date(2025, 1, 1),
    )  # fmt: skip
    other = of_catalog(None, kind="tar.gz", aliases="b,c")
    split = of_catalog(Item("squashfs", "r", 6, "r" * 64), aliases="d")
    names = [_from_tree(image, named, {}).download_names for image in (first, second, other, split)]
    assert names == [("a", "a/amd64", "b", "b/amd64"), (), ("c", "c/amd64"), ()]
