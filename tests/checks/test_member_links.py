"""Links of an archive through which programs would unpack later members."""

import pytest

from templater.checks.scanned_image import Name
from templater.checks.security import member_links
from templater.model.entry import FILE, Entry
from tests.checks.builders import a_folder, a_link, advisories, an_image, observed, severities

CHECK = "member-link"


def hard_link(path, target):
    return Name(path, Entry(FILE), hard_link=target)


def test_attack_59_a_member_below_a_symlink_is_found():
    image = an_image(names=[a_link("rootfs/etc", "/etc"), "rootfs/etc/passwd"])
    assert severities(CHECK, image) == ["critical"]
    assert advisories(CHECK, image) == {"CVE-2025-4517"}


def test_attack_58_member_below_a_replaced_directory_is_found():
    names = [a_folder("rootfs/a"), "rootfs/a/x", a_link("rootfs/a", "/"), "rootfs/a/y"]
    ((_, place, _),) = observed(CHECK, an_image(names=names))
    assert place == "rootfs/a/y"


def test_member_below_a_replaced_link_has_no_finding():
    assert not observed(CHECK, an_image(names=[a_link("rootfs/a", "/"), a_folder("rootfs/a"), "rootfs/a/x"]))


def test_attack_59_a_hard_link_to_a_file_outside_the_archive_is_found():
    assert severities(CHECK, an_image(names=[hard_link("rootfs/a", "/etc/shadow")])) == ["critical"]


def test_attack_59_a_hard_link_to_a_symlink_is_found():
    names = [a_link("rootfs/a", "/etc/shadow"), hard_link("rootfs/b", "rootfs/a")]
    assert severities(CHECK, an_image(names=names)) == ["high"]


def test_a_hard_link_to_an_earlier_file_has_no_finding():
    assert not observed(CHECK, an_image(names=["rootfs/a", hard_link("rootfs/b", "rootfs/a")]))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["rootfs/a", "rootfs/a/b"], "'rootfs/a/b' is below a file: the daemons can't unpack it"),
        (
            [a_folder("rootfs/a"), hard_link("rootfs/b", "rootfs/a")],
            "'rootfs/b' is a hard link to 'rootfs/a', which is a directory: the daemons can't unpack it",
        ),
        (
            ["rootfs/a/b", "rootfs/a"],
            "'rootfs/a' replaces a directory that is not empty: the daemons can't unpack it",
        ),
    ],
)
def test_attack_75_an_archive_member_is_found_if_gnu_tar_cannot_unpack_it(names, message):
    found = observed(CHECK, an_image(names=names, packed=True))
    assert [(severity, text) for severity, _, text in found] == [("medium", message)]
    assert advisories(CHECK, an_image(names=names, packed=True)) == {""}
    assert not observed(CHECK, an_image(names=names))


def test_a_member_with_a_finding_gets_no_second_finding_about_unpacking():
    names = [a_link("rootfs/a", "/"), "rootfs/a/b", hard_link("rootfs/c", "rootfs/d")]
    assert severities(CHECK, an_image(names=names, packed=True)) == ["critical", "critical"]


def folders(number, *names, chain=""):
    """Return the names of ``number`` chains of directories.

    The last directory of each chain contains ``names``.
    """
    for each in range(number):
        folder = f"rootfs/{each}"
        yield a_folder(folder)
        for part in chain:
            folder += f"/{part}"
            yield a_folder(folder)
        for number, name in enumerate(names):
            yield name._replace(path=f"{folder}/{number}")


LATE = a_link("", "/x")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (folders(60, LATE), ["medium"]),
        (folders(60, a_link("", "a/../x"), LATE), ["medium"]),
        (folders(9, LATE), []),
        (folders(200, a_link("", "x"), a_link("", "..x")), []),
        (folders(9, LATE, chain="abcdef"), ["medium"]),
        (folders(9, chain="abcdef"), []),
        ([*folders(9, LATE), *(a_folder(f"rootfs/d/{each}") for each in range(150))], ["medium"]),
        ([*folders(9, LATE), *(a_folder(f"rootfs/d/{each}") for each in range(50))], []),
        ([*folders(9, LATE), *(f"rootfs/d{each}/f" for each in range(150))], ["medium"]),
        ([*folders(9, LATE), *(a_link(f"rootfs/1/{each}", "/x") for each in range(150))], ["medium"]),
        ([*folders(60), *(a_link(f"rootfs/{each}/s", "/x") for each in range(60))], []),
        (
            [
                *folders(9, LATE),
                "rootfs/f",
                *(hard_link(f"rootfs/h{each}", "rootfs/f") for each in range(150)),
            ],
            ["medium"],
        ),
    ],
)
def test_archive_with_too_many_gnu_tar_searches_is_found(names, found, monkeypatch):
    """GNU tar 1.35 needs about ten seconds for a million times as many comparisons as here.

    The check counted only directories that contain a link. GNU tar also keeps the directories above them, and
    searches its list for each other link and directory.
    """
    monkeypatch.setattr(member_links, "_MOST_COMPARED", 1250)
    names = list(names)
    assert severities(CHECK, an_image(names=names, packed=True)) == found
    assert not observed(CHECK, an_image(names=names))
