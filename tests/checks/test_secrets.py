"""Secrets in files for everybody."""

import pytest

from tests.checks.builders import an_image, observed, rules

CHECK = "readable-secret"
TEXT = 'x={{ config_get("user.db-password", "") }}'


def found(mode, text=TEXT):
    return observed(CHECK, an_image(rules(f"/etc/a: {{when: [create], template: t{mode}}}"), {"t": text}))


@pytest.mark.parametrize("mode", ["", ", mode: 0644", ", mode: 0604"])
def test_attack_50_a_secret_in_a_world_readable_file_is_found(mode):
    assert [place for _, place, _ in found(mode)] == ["image/templates/t:1:18"]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('{% firstof config_get("user.password") %}', ["1:24"]),
        ('{% set x = config_get("user.password") %}{{ x }}{{ x }}', ["1:24"]),
        ('{% with x=config_get("user.password") %}{% with y=x %}{{ y }}{% endwith %}{% endwith %}', ["1:23"]),
        ("{% for k, v in config %}{{ k }}={{ v }}{% endfor %}", ["1:16"]),
        ('{% set x = config_get("user.password") %}{% if x %}a{% endif %}', []),
        ('{% if config_get("user.password") %}a{% endif %}', []),
    ],
)
def test_a_secret_that_is_printed_through_a_name_or_by_a_tag_is_found(text, places):
    assert [place for _, place, _ in found("", text)] == [f"image/templates/t:{place}" for place in places]


@pytest.mark.parametrize("mode", [", mode: 0600", ", mode: 0640"])
def test_a_secret_in_a_private_file_has_no_finding(mode):
    assert not found(mode)


@pytest.mark.parametrize(
    "text", ['{{ config_get("user.name", "") }}', "# the password goes elsewhere", '"secret"']
)
def test_words_that_are_not_secrets_have_no_finding(text):
    assert not found("", text)
