"""Known differences from pongo2 4.0.2 and 6.0.0: each test fails until templater behaves as recorded."""

import pytest

from templater import pongo2
from templater.pongo2.dialect import V4, V6

FIELD = "the filters default and default_if_none hand on the field of a loop, which changes with it; we take its value"


@pytest.mark.parametrize("dialect", [V4, V6])
@pytest.mark.parametrize(
    ("expression", "recorded"),
    [
        pytest.param("forloop.Counter|default:9", "123", marks=pytest.mark.xfail(reason=FIELD, strict=True)),
        pytest.param(
            "forloop.Counter0|default_if_none:9", "012", marks=pytest.mark.xfail(reason=FIELD, strict=True)
        ),
    ],
)
def test_a_copied_forloop_field_has_a_new_value_in_each_round(expression, recorded, dialect):
    text = f"{{% for i in 'abc' %}}{{% if forloop.First %}}{{% set x = {expression} %}}{{% endif %}}{{{{ x }}}}{{% endfor %}}"
    assert pongo2.compile(text, dialect, mode="plain").render({}) == recorded
