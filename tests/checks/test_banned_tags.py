"""Tags that read files."""

import pytest

from tests.checks.builders import advisories, seen, severities, survey

CHECK = "file-tag"


@pytest.mark.parametrize(
    "text",
    [
        '{% include "/etc/shadow" %}', "{%- ssi /etc/shadow %}", '{% extends "x" %}', '{%import "x" a %}',
        '{% if false %}{% include "x" %}{% endif %}', '{% comment %}{% include "x" %}{% endcomment %}',
        '{% macro m() %}{%\tinclude "x" %}{% endmacro %}', '{% INCLUDE "x" %}', '{% broken {% include "x" %}',
    ],
)  # fmt: skip
def test_attack_37_wherever_it_hides(text):
    image = survey(templates={"t": text})
    assert severities(CHECK, image) == ["high"]
    assert advisories(CHECK, image) == {"CVE-2026-33897"}


def test_it_has_its_place():
    assert seen(CHECK, survey(templates={"t": 'a\n {% include "x" %}'}))[0][1] == "image/templates/t:2:5"


@pytest.mark.parametrize(
    "text", ["include", "{{ include }}", "{% if included %}{% endif %}", "{% includes %}"]
)
def test_the_word_alone_is_fine(text):
    assert not seen(CHECK, survey(templates={"t": text}))
