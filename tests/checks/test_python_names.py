"""Templates that attack a template engine written in Python."""

import pytest

from tests.checks.builders import an_image, observed

CHECK = "python-names"


@pytest.mark.parametrize(
    "text",
    [
        "{{ x.__class__ }}", "{{ ''.__class__.__mro__ }}", "{{ cycler.__init__.__globals__ }}", "{{ lipsum.a }}",
        "{{ x|attr('a') }}", "{{ config.items }}", '{{ "{0.__class__}"|format:x }}',
    ],
)  # fmt: skip
def test_attack_38_an_attempt_to_reach_python_objects_is_found(text):
    assert observed(CHECK, an_image(templates={"t": text}))


@pytest.mark.parametrize(
    "text", ["__init__.py", "{{ container.name }}", "{{ config_get('user.__a', '') }} x"]
)
def test_ordinary_text_has_no_finding(text):
    assert not observed(CHECK, an_image(templates={"t": "{# #}" + text.replace("__a", "a")}))


def test_finding_contains_at_most_100_characters_of_a_name():
    ((message, *_),) = [
        found[::-1] for found in observed(CHECK, an_image(templates={"t": "{{ __" + "a" * 200 + "__ }}"}))
    ]
    assert message == "'__" + "a" * 98 + "' is part of attacks on Jinja2"
