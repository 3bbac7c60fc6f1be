"""The list of images: which image a name means, for the image API and for imports by URL."""

import platform

import pytest

from templater.model.architectures import KERNEL_NAMES
from templater.serving.image_listing import File, Listing, Served

OWN = KERNEL_NAMES[platform.machine()]
OTHER = "aarch64" if OWN != "aarch64" else "x86_64"


def image(
    fingerprint: str, *aliases: str, type: str = "container", arch: str = OWN, files: int = 1
) -> Served:
    parts = tuple(File(f"images/{fingerprint}{number}", 10, "") for number in range(files))
    return Served(fingerprint * 64, type, arch, 0, 0, 0, {}, parts, aliases)


def test_an_alias_that_several_images_share_selects_the_container_image_for_this_architecture():
    machine, foreign, ours = (
        image("a", "x", type="virtual-machine"), image("b", "x", arch=OTHER), image("c", "x", "y"),
    )  # fmt: skip
    listing = Listing([machine, foreign, ours])
    assert listing.aliases == {"x": ours, "y": ours}
    assert listing.names == {ours.fingerprint: ["x", "y"]}


def test_an_image_that_a_source_lists_twice_is_served_once():
    assert Listing([image("a"), image("a")]).images == (image("a"),)


def test_a_fingerprint_prefix_selects_an_image_only_if_it_is_unambiguous():
    listing = Listing([image("a"), Served("ab" + "0" * 62, "container", OWN, 0, 0, 0, {}, ())])
    assert listing.find("aa") == image("a")
    assert listing.find("a" * 64) == image("a")
    assert [listing.find(name) for name in ("", "a", "b", "aab")] == [None] * 4


def test_an_import_uses_the_first_requested_architecture_that_has_a_unified_image():
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
