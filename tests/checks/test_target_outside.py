"""Targets whose text leads outside the root filesystem."""

import pytest

from tests.checks.builders import advisories, an_image, observed, rules, severities

CHECK = "target-outside"


@pytest.mark.parametrize("path", ["/../x", "/etc/../../x", "../../etc/cron.d/x"])
def test_attack_01_a_target_outside_the_root_has_critical_severity(path):
    image = an_image(rules(f"{path}: {{when: [create], template: t}}"))
    assert severities(CHECK, image) == ["critical"]
    assert advisories(CHECK, image) == {"CVE-2026-23954"}


@pytest.mark.parametrize("path", ["/", "/.", '""', "."])
def test_attack_02_the_root_directory_as_target_is_found(path):
    image = an_image(rules(f"{path}: {{when: [create], template: t}}"))
    assert severities(CHECK, image) == ["medium"]
    assert advisories(CHECK, image) == {""}


def test_attack_03_a_line_break_in_a_target_is_found_and_escaped():
    (found,) = observed(CHECK, an_image(rules('"/etc/a\\nb": {when: [create], template: t}')))
    assert found == (
        "low",
        "image/metadata.yaml:4:3",
        "target path '/etc/a\\nb' has unprintable characters",
    )


def test_a_too_long_path_is_found():
    assert severities(CHECK, an_image(rules(f"/{'a' * 300}: {{when: [create], template: t}}"))) == ["medium"]


@pytest.mark.parametrize("path", ["/etc/hosts", "etc/hosts", "//etc/./hosts", "/nodir/../etc/hosts"])
def test_a_path_inside_the_root_has_no_finding(path):
    assert not observed(CHECK, an_image(rules(f"{path}: {{when: [create], template: t}}")))
