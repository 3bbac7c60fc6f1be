"""The stream that is generated for images of this machine, and the images that a tree's catalog gives."""

import json
import os
from dataclasses import replace
from datetime import date

import pytest

from templater.distribution.catalog_decoder import IMAGES_PATH, INDEX_PATH, Item, Product, Version
from templater.distribution.client_image_list import Image
from templater.model.metadata import Metadata
from templater.serving.generated_stream import LocalImage, PublicFiles, listing_of
from templater.serving.served_image import File, Served
from templater.serving.served_tree import _from_tree
from tests.streams.builders import CREATED, QCOW2, SQUASHFS

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


def test_a_split_image_of_this_machine_is_in_the_catalog_with_its_fingerprint(local):
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


def test_images_are_listed_newest_first_and_a_product_has_the_aliases_of_its_newest_image(local):
    listing, _, messages = served(
        local("b", created=CREATED + 86400, aliases=("new",)), local("a", aliases=("old",)),
        local("c", created=CREATED - 86400, aliases=("older",)),
    )  # fmt: skip
    assert [image.fingerprint[0] for image in listing.images] == ["b", "a", "c"]
    (product,) = document(listing, IMAGES_PATH)["products"].values()
    assert (product["aliases"], len(product["versions"]), messages) == ("new", 3, [])


def test_a_product_has_the_aliases_of_its_container_image_and_its_machine_image(local, tmp_path):
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
def test_an_image_that_simplestreams_clients_would_misread_appears_only_in_the_image_api(options, why, local):
    listing, _, (message,) = served(local(**options))
    assert message.startswith(f"simplestreams clients don't see the image {'a' * 12}: ")
    assert why[:10] in message and (why in message or len(options.get("os", "")) > 2)
    assert len(listing.images) == 1
    assert list(listing.documents) == [INDEX_PATH]
    assert document(listing, INDEX_PATH)["index"] == {}


def test_an_image_whose_file_is_missing_is_not_served_at_all(local):
    image, other = local("a"), local("b", variant="other")
    os.unlink(image.paths[1])
    listing, _, (message,) = served(image, other)
    assert [found.fingerprint[0] for found in listing.images] == ["b"]
    assert message == (
        f"the image {'a' * 12} is not served: '{image.paths[1]}' can't be opened: no such file or directory"
    )


@pytest.mark.parametrize("change", ["content", "other file", "fifo", "missing"])
def test_a_public_file_that_was_replaced_is_not_opened(change, tmp_path):
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


def test_an_image_of_a_catalog_has_the_properties_that_clients_derive_from_the_catalog():
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


def test_only_the_first_unified_image_with_a_name_can_be_imported_by_that_name():
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
