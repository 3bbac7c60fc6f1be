"""Tags that read files."""

import pytest

from tests.checks.builders import advisories, an_image, observed, severities

CHECK = "file-tag"


@pytest.mark.parametrize(
    "text",
    [
        '{% include "/etc/shadow" %}', "{%- ssi /etc/shadow %}", '{% extends "x" %}', '{%import "x" a %}',
        '{% if false %}{% include "x" %}{% endif %}', '{% comment %}{% include "x" %}{% endcomment %}',
        '{% macro m() %}{%\tinclude "x" %}{% endmacro %}', '{% INCLUDE "x" %}', '{% broken {% include "x" %}',
    ],
)  # fmt: skip
def test_attack_37_a_banned_tag_is_found_at_any_place_in_a_template(text):
    image = an_image(templates={"t": text})
    assert severities(CHECK, image) == ["high"]
    assert advisories(CHECK, image) == {"CVE-2026-33897"}


def test_a_banned_tag_is_reported_with_its_position():
    assert (
        observed(CHECK, an_image(templates={"t": 'a\n {% include "x" %}'}))[0][1] == "image/templates/t:2:5"
    )


@pytest.mark.parametrize(
    "text", ["include", "{{ include }}", "{% if included %}{% endif %}", "{% includes %}"]
)
def test_banned_tag_name_in_plain_text_has_no_finding(text):
    assert not observed(CHECK, an_image(templates={"t": text}))
