"""Templates without end."""

import pytest

from tests.checks.builders import advisories, an_image, observed, rules, severities

CHECK = "runaway"
RULE = rules("/etc/a: {when: [create], template: t}")


@pytest.mark.parametrize(
    "text",
    [
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% lorem 100000000 w %}",
        '{{ "x"|ljust:2000000000 }}',
    ],
)
def test_attack_40_41_42_a_render_without_end_is_found_once(text):
    assert severities(CHECK, an_image(RULE, {"t": text})) == ["high"]


def test_a_null_entry_makes_the_daemons_panic():
    image = an_image(rules("/etc/a:"))
    assert severities(CHECK, image) == ["medium"]
    assert advisories(CHECK, image) == {"CVE-2026-40195"}


def test_an_ordinary_template_is_fine():
    assert not observed(CHECK, an_image(RULE, {"t": "{% for i in config %}{{ i }}{% endfor %}"}))
