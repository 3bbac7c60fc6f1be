"""Templates that close the daemons' wrapper."""

import pytest

from tests.checks.builders import an_image, observed

CHECK = "autoescape"


def test_attack_45_an_endautoescape_without_autoescape_is_found():
    found = observed(CHECK, an_image(templates={"t": "a{% endautoescape %}{{ x }}{% autoescape off %}"}))
    assert [place for _, place, _ in found] == ["image/templates/t:1:2"]


@pytest.mark.parametrize("text", ["", "{% autoescape on %}{{ x }}{%- endautoescape -%}"])
def test_a_complete_autoescape_block_has_no_finding(text):
    assert not observed(CHECK, an_image(templates={"t": text}))
