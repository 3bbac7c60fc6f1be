"""Names that come twice in the root filesystem."""

from tests.checks.builders import a_folder, a_link, an_image, observed

CHECK = "member-twice"


def test_a_folder_that_becomes_a_link_and_a_link_that_becomes_a_folder():
    for names in (
        [a_folder("rootfs/a"), a_link("rootfs/a", "/")],
        [a_link("rootfs/a", "/"), a_folder("rootfs/a")],
    ):
        ((severity, place, _),) = observed(CHECK, an_image(names=names))
        assert (severity, place) == ("medium", "rootfs/a")


def test_many_are_one_finding():
    ((_, _, message),) = observed(
        CHECK, an_image(names=["rootfs/a", "rootfs/b", "rootfs/a", "rootfs/b", "rootfs/b"])
    )
    assert message == "2 names occur twice in the root filesystem; the first is 'rootfs/a'"


def test_a_folder_may_come_twice_and_what_lies_outside_is_another_check_s():
    assert not observed(CHECK, an_image(names=[a_folder("rootfs/a"), a_folder("rootfs/a"), "x", "x"]))
