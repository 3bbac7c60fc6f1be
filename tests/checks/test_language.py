"""Templates that do not compile."""

import pytest

from tests.checks.builders import an_image, observed

CHECK = "language"


def test_a_syntax_error_is_reported_with_its_position():
    ((severity, place, message),) = observed(CHECK, an_image(templates={"t": "a\n{{ x|nosuch }}"}))
    assert (severity, place) == ("medium", "image/templates/t:2:6")
    assert "nosuch" in message


def test_syntax_supported_only_by_incus_is_found():
    ((severity, _, message),) = observed(CHECK, an_image(templates={"t": '{{ config["user.a"] }}'}))
    assert severity == "low"
    assert "LXD" in message


@pytest.mark.slow
def test_attack_44_too_deep_nesting_is_found():
    assert observed(CHECK, an_image(templates={"t": "{{ " + "(" * 100_000}))


@pytest.mark.parametrize("text", ["", "{{ container.name }}", "no tags"])
def test_a_template_has_no_finding_if_it_compiles(text):
    assert not observed(CHECK, an_image(templates={"t": text}))
