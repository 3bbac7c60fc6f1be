"""Names in the archive."""

import pytest

from tests.checks.builders import seen, severities, survey

CHECK = "member-name"


@pytest.mark.parametrize("name", ["../x", "rootfs/../../x", "/etc/x", "templates/../../x"])
def test_attack_57_a_name_that_leads_out_is_critical(name):
    assert severities(CHECK, survey(names=[name])) == ["critical"]


def test_attack_57_a_backslash_is_found():
    assert severities(CHECK, survey(names=["templates\\x"])) == ["medium"]


def test_what_can_not_be_printed_is_mentioned_and_escaped():
    assert seen(CHECK, survey(names=["rootfs/a\x1b[2J"])) == [
        ("info", "rootfs/a\\x1b[2J", "'rootfs/a\\x1b[2J' holds unprintable characters")
    ]


@pytest.mark.parametrize("name", ["./metadata.yaml", "rootfs/a..b", "rootfs/..."])
def test_ordinary_names_are_fine(name):
    assert not seen(CHECK, survey(names=[name]))
