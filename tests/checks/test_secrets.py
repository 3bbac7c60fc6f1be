"""Secrets in files for everybody."""

import pytest

from tests.checks.builders import an_image, observed, rules

CHECK = "readable-secret"
TEXT = 'x={{ config_get("user.db-password", "") }}'


def found(mode, text=TEXT):
    return observed(CHECK, an_image(rules(f"/etc/a: {{when: [create], template: t{mode}}}"), {"t": text}))


@pytest.mark.parametrize("mode", ["", ", mode: 0644", ", mode: 0604"])
def test_attack_50_a_secret_that_everybody_can_read(mode):
    assert [place for _, place, _ in found(mode)] == ["image/templates/t:1:18"]


@pytest.mark.parametrize("mode", [", mode: 0600", ", mode: 0640"])
def test_a_closed_file_is_fine(mode):
    assert not found(mode)


@pytest.mark.parametrize(
    "text", ['{{ config_get("user.name", "") }}', "# the password goes elsewhere", '"secret"']
)
def test_other_words_are_fine(text):
    assert not found("", text)
