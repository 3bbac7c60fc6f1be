"""Names that occur twice in the root filesystem of an archive."""

from tests.checks.builders import a_folder, a_link, an_image, observed

CHECK = "member-twice"


def test_name_of_both_directory_and_link_is_found():
    for names in (
        [a_folder("rootfs/a"), a_link("rootfs/a", "/")],
        [a_link("rootfs/a", "/"), a_folder("rootfs/a")],
    ):
        ((severity, place, _),) = observed(CHECK, an_image(names=names))
        assert (severity, place) == ("medium", "rootfs/a")


def test_many_duplicate_member_names_give_one_finding():
    ((_, _, message),) = observed(
        CHECK, an_image(names=["rootfs/a", "rootfs/b", "rootfs/a", "rootfs/b", "rootfs/b"])
    )
    assert message == "2 names occur twice in the root filesystem, for example 'rootfs/a'"


def test_duplicate_directory_or_duplicate_outside_rootfs_has_no_finding():
    assert not observed(CHECK, an_image(names=[a_folder("rootfs/a"), a_folder("rootfs/a"), "x", "x"]))
