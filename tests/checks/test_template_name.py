"""Template names that are paths."""

import pytest

from tests.checks.builders import advisories, an_image, observed, rules, severities

CHECK = "template-name"


@pytest.mark.parametrize("name", ["../x", "/etc/shadow", "a/b", "..", "."])
def test_attack_05_a_path_as_template_name_has_critical_severity(name):
    image = an_image(rules(f'/etc/a: {{when: [create], template: "{name}"}}'))
    assert severities(CHECK, image) == ["critical"]
    assert advisories(CHECK, image) == {"CVE-2026-23954"}


def test_attack_05_a_missing_template_name_gives_a_finding_of_medium_severity():
    image = an_image(rules("/etc/a: {when: [create]}"))
    assert severities(CHECK, image) == ["medium"]
    assert advisories(CHECK, image) == {""}


@pytest.mark.parametrize("name", ["a.tpl", "..a", "a b"])
def test_ordinary_template_names_have_no_finding(name):
    assert not observed(CHECK, an_image(rules(f'/etc/a: {{when: [create], template: "{name}"}}')))
