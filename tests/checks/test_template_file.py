"""Templates that are not plain files of the image."""

import pytest

from templater.model.entry import CHAR_DEVICE, DIRECTORY, FIFO, FILE, SOCKET, SYMLINK, Entry
from tests.checks.builders import advisories, an_image, observed, rules, severities

CHECK = "template-file"
RULE = rules("/etc/a: {when: [create], template: t}")


def test_attack_06_a_missing_template_is_found_once():
    two = rules("/etc/a: {when: [create], template: t}", "/etc/b: {when: [create], template: t}")
    assert [place for _, place, _ in observed(CHECK, an_image(two))] == ["image/metadata.yaml:4:38"]


def test_attack_07_a_symlink_as_template_has_critical_severity():
    image = an_image(RULE, {"t": Entry(SYMLINK, target="/etc/shadow")})
    assert severities(CHECK, image) == ["critical"]
    assert advisories(CHECK, image) == {"CVE-2026-23954"}


@pytest.mark.parametrize("kind", [FIFO, SOCKET, CHAR_DEVICE, DIRECTORY])
def test_attack_08_a_special_file_as_template_has_high_severity(kind):
    assert severities(CHECK, an_image(RULE, {"t": Entry(kind)})) == ["high"]


def test_attack_09_a_hard_linked_template_gives_a_finding_of_low_severity():
    assert severities(CHECK, an_image(RULE, {"t": Entry(FILE, nlink=2)})) == ["low"]


def test_a_regular_file_has_no_finding():
    assert not observed(CHECK, an_image(RULE, {"t": "text"}))
