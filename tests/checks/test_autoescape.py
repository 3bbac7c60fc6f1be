"""Templates that close the ``autoescape`` block that the daemons put around each template."""

import pytest

from tests.checks.builders import an_image, observed

CHECK = "autoescape"


def test_attack_45_an_endautoescape_tag_without_an_autoescape_tag_is_found():
    found = observed(CHECK, an_image(templates={"t": "a{% endautoescape %}{{ x }}{% autoescape off %}"}))
    assert [place for _, place, _ in found] == ["image/templates/t:1:2"]


@pytest.mark.parametrize(
    "text",
    [
        "{# {% autoescape off %} #}{% endautoescape %}{{ x }}{% autoescape on %}",
        "{% comment %}{% autoescape off %}{% endcomment %}{% endautoescape %}{{ x }}{% autoescape on %}",
        "{% verbatim %}{% autoescape off %}{% endverbatim %}{% endautoescape %}{{ x }}{% autoescape on %}",
        "{% spaceless %}{% endspaceless {% autoescape off %}{% endautoescape %}{% autoescape on %}",
        "{% spaceless %}{% endspaceless [ %}{% autoescape off %}{% endautoescape %}{% autoescape on %}",
        "{% comment %}{% 'endcomment' %}{% autoescape on %}{% endcomment %}{% endautoescape %}{% autoescape on %}",
    ],
)
def test_endautoescape_tag_after_ineffective_autoescape_tag_is_found(text):
    assert len(observed(CHECK, an_image(templates={"t": text}))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{% autoescape on %}{{ x }}{%- endautoescape -%}",
        "{# {% endautoescape %} #}{% comment %}{% endautoescape %}{% endcomment %}",
        "{% for i in 'ab' %}{% autoescape on %}{{ config['a'] }}{% endautoescape %}{% endfor %}",
    ],
)
def test_a_complete_autoescape_block_has_no_finding(text):
    assert not observed(CHECK, an_image(templates={"t": text}))
