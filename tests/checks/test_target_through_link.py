"""Targets behind symlinks of the root filesystem."""

import pytest

from templater.checks.scanned_image import Name
from templater.model.entry import DIRECTORY, SYMLINK, Entry
from tests.checks.builders import a_folder, a_link, an_image, observed, rules, severities

CHECK = "target-through-link"
RULE = rules("/etc/hosts: {when: [create], template: t}")


def image(*names):
    return an_image(RULE, names=names)


def test_attack_12_an_absolute_link_on_the_path_of_a_target_is_found():
    ((severity, place, message),) = observed(CHECK, image(a_link("rootfs/etc", "/host/etc")))
    assert (severity, place) == ("medium", "image/metadata.yaml:4:3")
    assert "'/etc', an absolute symlink ('/host/etc')" in message


def test_attack_14_a_link_out_of_the_root_has_high_severity():
    assert severities(CHECK, image(a_link("rootfs/etc", "../../host/etc"))) == ["high"]


def test_attack_15_a_symlink_loop_is_found():
    assert "medium" in severities(CHECK, image(a_link("rootfs/etc", "etc")))


def test_attack_26_a_file_as_parent_of_a_target_is_found():
    assert severities(CHECK, image("rootfs/etc")) == ["medium"]


def test_attack_13_a_relative_link_inside_the_root_has_no_finding():
    assert not observed(CHECK, image(a_folder("rootfs/system"), a_link("rootfs/etc", "system")))


@pytest.mark.parametrize("target", ["..", "a/../.."])
def test_a_link_out_of_the_root_through_another_link_is_found(target):
    """The name ``l`` in the text of the link is not a directory one level down, but leads to the root."""
    names = (
        a_folder("rootfs/etc"),
        a_link("rootfs/etc/hosts", f"l/{target}"),
        a_link("rootfs/etc/l", "../etc/.."),
    )
    found = observed(CHECK, image(*names, a_folder("rootfs/a")))
    assert ("high", "image/metadata.yaml:4:3") in [each[:2] for each in found]
    assert any(
        "'/etc/hosts', a symlink that leaves the root filesystem" in message for _, _, message in found
    )


@pytest.mark.parametrize("depth", [64, 66, 200])
@pytest.mark.parametrize("is_link", [False, True])
def test_a_link_out_of_the_root_is_found_below_deep_directories(depth, is_link):
    """The check left out names with more than 64 parents, and with them a link that leaves the root."""
    deep = "a/" * depth
    path = "/b/l/hosts" if is_link else f"/{deep}l/hosts"
    names = [a_link(f"rootfs/{deep}l", "../" * (depth + 2) + "etc"), a_link("rootfs/b", deep[:-1])]
    found = an_image(rules(f"{path}: {{when: [create], template: t}}"), names=names)
    assert "high" in severities(CHECK, found)


@pytest.mark.parametrize(
    "names",
    [
        [a_link("rootfs/etc", "missing/../../../host")],
        [
            Name("rootfs/tmp", Entry(DIRECTORY, 0o1777)),
            Name("rootfs/tmp/l", Entry(SYMLINK, 0o777, 1000, target="../../host")),
        ],
    ],
    ids=["a directory that an earlier rule can create", "a link of a user in a shared directory"],
)
def test_an_unresolvable_link_with_dot_dot_has_high_severity(names):
    rule = rules("/tmp/l/x: {when: [create], template: t}", "/etc/x: {when: [create], template: t}")
    assert "high" in severities(CHECK, an_image(rule, names=names))
