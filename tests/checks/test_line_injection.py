"""Values that can add lines."""

import pytest

from tests.checks.builders import advisories, an_image, observed, severities

CHECK = "line-injection"


@pytest.mark.parametrize(
    "text", ['name = {{ config_get("user.a", "") }}\n', "x {{ config.a }}", 'a: {{ config["user.b"] }}']
)
def test_attack_49_a_configuration_value_inside_a_line_of_a_file_is_found(text):
    image = an_image(templates={"t": text})
    assert severities(CHECK, image) == ["info"]
    assert advisories(CHECK, image) == {"CVE-2026-23953"}


@pytest.mark.parametrize(
    "text",
    [
        '{{ config_get("user.user-data", properties.default) }}\n',
        '{% if x %}{{ config_get("user.a", "") }}{% endif %}',
        'port = {{ config_get("user.port", "80")|integer }}',
        "name = {{ container.name }}",
    ],
)
def test_whole_documents_numbers_and_instance_names_have_no_finding(text):
    assert not observed(CHECK, an_image(templates={"t": text}))
