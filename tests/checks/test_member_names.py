"""Names of the members of an archive."""

import pytest

from tests.checks.builders import an_image, observed, severities

CHECK = "member-name"


@pytest.mark.parametrize("name", ["../x", "rootfs/../../x", "/etc/x", "templates/../../x"])
def test_attack_57_a_member_name_outside_the_image_gives_a_critical_finding(name):
    assert severities(CHECK, an_image(names=[name])) == ["critical"]


def test_attack_57_a_backslash_in_a_member_name_is_found():
    assert severities(CHECK, an_image(names=["templates\\x"])) == ["medium"]


def test_unprintable_names_are_reported_and_escaped():
    assert observed(CHECK, an_image(names=["rootfs/a\x1b[2J"])) == [
        ("info", "rootfs/a\\x1b[2J", "'rootfs/a\\x1b[2J' has unprintable characters")
    ]


@pytest.mark.parametrize("name", ["./metadata.yaml", "rootfs/a..b", "rootfs/..."])
def test_ordinary_names_have_no_finding(name):
    assert not observed(CHECK, an_image(names=[name]))
