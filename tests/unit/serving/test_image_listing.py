"""The list of images: which image a name means, for the image API and for imports by URL."""

import json
import platform
from dataclasses import replace

import pytest

from templater.model.architectures import KERNEL_NAMES
from templater.model.errors import LimitError
from templater.serving import image_listing
from templater.serving.image_api_answers import Elements, EncodedList, success_list
from templater.serving.image_listing import Listing
from templater.serving.served_image import File, Served

OWN = KERNEL_NAMES[platform.machine()]
OTHER = "aarch64" if OWN != "aarch64" else "x86_64"


def image(
    fingerprint: str, *aliases: str, type: str = "container", arch: str = OWN, files: int = 1
) -> Served:
    parts = tuple(File(f"images/{fingerprint}{number}", 10, "") for number in range(files))
    return Served(fingerprint * 64, type, arch, 0, 0, 0, {}, parts, aliases)


def test_a_shared_alias_selects_the_container_image_for_this_architecture():
    machine, foreign, ours = (
        image("a", "x", type="virtual-machine"), image("b", "x", arch=OTHER), image("c", "x", "y"),
    )  # fmt: skip
    listing = Listing([machine, foreign, ours])
    assert listing.aliases == {"x": ours, "y": ours}
    names = {image.fingerprint: json.loads(listing.encoded(image))["aliases"] for image in listing.images}
    assert [each["name"] for each in names.pop(ours.fingerprint)] == ["x", "y"]
    assert set(map(str, names.values())) == {"[]"}


def test_a_duplicate_image_of_a_source_is_served_once():
    assert Listing([image("a"), image("a")]).images == (image("a"),)


def test_attack_73_image_lists_have_a_limit_on_encoded_bytes(monkeypatch):
    """JSON has 12 bytes for an emoji, and repeats the texts of a product for each image."""
    emojis = replace(image("a"), properties={"os": "\N{GRINNING FACE}" * 1000})
    monkeypatch.setattr(image_listing, "MOST_OF_LISTS", 1 << 20)
    assert len(Listing([emojis]).encoded(emojis)) > 12_000
    read = []

    def images():
        for number in range(100):
            read.append(number)
            yield replace(emojis, fingerprint=f"{number:064}")

    with pytest.raises(LimitError, match=r"^the image lists for clients have more than 1 MiB$"):
        Listing(images())
    assert len(read) < 90, "the limit is reached before all images are encoded"


@pytest.mark.parametrize(
    ("images", "documents"),
    [
        ([replace(image("a"), fingerprint="f" * 9000)], {}),
        ([replace(image("a", "x", "y", "z"), fingerprint="f" * 3000)], {}),
        ([image("a", "x" * 6000)], {}),
        ([], {"a": EncodedList(Elements([b"a" * 8000])), "b": EncodedList(Elements([b"b" * 8000]))}),
    ],
    ids=["addresses", "targets", "aliases", "documents"],
)
def test_the_size_limit_includes_generated_files_and_lists(images, documents, monkeypatch):
    assert Listing(images, documents).images == tuple(images)
    monkeypatch.setattr(image_listing, "MOST_OF_LISTS", 15_000)
    with pytest.raises(LimitError):
        Listing(images, documents)


def test_an_image_list_keeps_image_texts_only_in_encoded_form():
    (found,) = Listing([replace(image("a"), properties={"os": "Debian"})]).images
    assert found.properties == {}


def test_closing_a_list_frees_its_elements_and_aborts_its_responses():
    elements = Elements([b"1", b"2", b"3"])
    answers = [success_list(elements), success_list(elements, b"\1\0\1")]
    begun = [iter(answer) for answer in answers]
    for answer in begun:
        assert [next(answer) for _ in range(3)][2] == b"1"
    elements.end()
    assert elements == []
    for answer in (*begun, *map(iter, answers)):
        with pytest.raises(ConnectionResetError):
            list(answer)


def test_a_fingerprint_prefix_selects_an_image_only_if_it_is_unambiguous():
    listing = Listing([image("a"), replace(image("b"), fingerprint="ab" + "0" * 62)])
    assert listing.find("aa") == image("a")
    assert listing.find("a" * 64) == image("a")
    assert [listing.find(name) for name in ("", "a", "b", "aab")] == [None] * 4


def test_an_import_skips_a_requested_architecture_without_a_unified_image():
    split, foreign = image("a", "x", files=2), image("b", "x", arch=OTHER)
    listing = Listing([split, foreign])
    assert listing.choose("x") == foreign
    assert listing.choose("x", [OWN, OTHER]) == foreign
    assert listing.choose("x", [OWN]) is None
    assert listing.choose("a" * 64) is None, "a split image has two files"
    assert listing.choose("b" * 12, [OTHER]) == foreign


def test_an_architecture_can_be_requested_by_its_debian_name():
    assert Listing([image("b", "x", arch="aarch64")]).choose("x", ["arm64"]) == image(
        "b", "x", arch="aarch64"
    )


@pytest.mark.parametrize(
    ("version", "found"), [("3.18", False), ("3.19", True), ("6.8", True), ("", True), ("5", True)]
)
def test_an_lxd_release_without_virtual_machines_gets_no_virtual_machine_image(version, found):
    machine = image("a", "x", type="virtual-machine")
    assert Listing([machine]).choose("x", [], version) == (machine if found else None)
    assert Listing([machine]).choose("x") == machine
