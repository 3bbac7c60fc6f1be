"""Warnings about names that no host provides."""

import json
from pathlib import Path

import pytest

from templater.model.source import Source
from templater.pongo2 import compile
from templater.pongo2.dialect import DIALECTS
from templater.rendering.unknown_names import unknown_names

VECTORS = Path(__file__).parents[2] / "vectors"


def found(text, dialect="v6.1", properties=None):
    names = unknown_names(Source("t.tpl", text), dialect, properties)
    return [(name.name, name.span.place, name.hint) for name in names]


@pytest.mark.parametrize(
    ("text", "name", "place", "hint"),
    [
        ("{{ instnace.name }}", "instnace", "t.tpl:1:4", "did you mean 'instance'?"),
        ("a\n{{ container.nmae }}", "container.nmae", "t.tpl:2:14", "did you mean 'name'?"),
        ('{{ instance["nme"] }}', "instance.nme", "t.tpl:1:13", "did you mean 'name'?"),
        (
            "{% for d in devices %}{{ forloop.counter }}{% endfor %}",
            "forloop.counter",
            "t.tpl:1:34",
            "did you mean 'Counter'?",
        ),
        ("{% if foo %}{% endif %}", "foo", "t.tpl:1:7", ""),
        ("{{ trigger|default:xyz }}", "xyz", "t.tpl:1:20", ""),
        ('{% macro m(a, b=bar) %}{% endmacro %}{{ m("") }}', "bar", "t.tpl:1:17", ""),
        ('{% cycle "a" zork %}', "zork", "t.tpl:1:14", ""),
    ],
)
def test_a_misspelled_variable_is_reported_with_its_position_and_a_suggestion(text, name, place, hint):
    assert found(text) == [(name, place, hint)]


def test_the_suggestion_for_a_dotted_configuration_key_works_in_each_dialect():
    text = "{{ config.user.x }}"
    assert found(text, "v4") == [
        (
            "config.user.x",
            "t.tpl:1:4",
            'dots are part of a configuration key: write config_get("user.x", "")',
        )
    ]
    assert found(text, "v6") == found(text, "v4")


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ('{{ config.get("user.x", "true") }}', 'config_get("user.x", "true")'),
        ("{{ config.get('user.x') }}", "config_get('user.x', \"\")"),
    ],
)
def test_config_get_written_with_a_dot_gets_a_suggestion(text, call):
    assert found(text, "v6") == [("config.get", "t.tpl:1:4", f"'config' has no functions: write {call}")]


def test_a_call_with_very_long_arguments_gets_a_general_suggestion():
    hint = 'dots are part of a configuration key: write config_get("user.get", "")'
    text = '{{ config.get("user.x", "' + "x" * 300 + '") }}'
    assert found(text, "v6") == [("config.get", "t.tpl:1:4", hint)]


@pytest.mark.parametrize(("name", "field"), [("name", "name"), ("type", "type"), ("hostname", "name")])
def test_an_instance_field_without_its_prefix_gets_a_suggestion(name, field):
    assert [hint for _, _, hint in found(f"{{{{ {name} }}}}")] == [f"did you mean 'instance.{field}'?"]


def test_an_unknown_variable_is_reported_only_once():
    assert len(found("{{ foo }}{{ foo }}{{ foo }}")) == 1


def test_property_names_are_checked_only_if_properties_are_known():
    assert found("{{ properties.a }}{{ properties.b }}", properties=["a"]) == [
        ("properties.b", "t.tpl:1:33", "")
    ]
    assert not found("{{ properties.b }}")


@pytest.mark.parametrize(
    "text",
    [
        "{{ instance.name }}{{ container.privileged }}{{ trigger }}{{ path }}{{ pongo2.version }}",
        '{{ config_get("user.x", "") }}{{ config["user.x"] }}{{ devices.eth0.hwaddr }}{{ devices.Sorted.0.Name }}',
        "{% set foo = 1 %}{{ foo }}{% with bar=2 %}{{ bar }}{% endwith %}",
        "{% for key, value in config %}{{ key }}{{ value }}{{ forloop.Counter }}{% endfor %}",
        "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(trigger) }}",
        '{% cycle "a" "b" as c %}{{ c }}',
        "{% comment %}{{ foo }}{% endcomment %}{# {{ foo }} #}{% verbatim %}{{ foo }}{% endverbatim %}",
        "{{ ",
    ],
)
def test_known_variables_and_loop_variables_are_not_reported(text):
    assert not found(text)


def test_every_reported_variable_is_missing_in_the_recorded_context():
    lines = (VECTORS / "visible" / "lxd.jsonl").read_text("utf-8").splitlines()
    reported = 0
    for vector in map(json.loads, lines):
        for name in found(vector["template"], "v6"):
            if "." not in name[0]:
                reported += 1
                assert name[0] not in vector["context"]
    assert reported


def test_a_compiled_template_knows_the_variables_and_keys_that_it_reads():
    text = '{{ instance.name }}{{ config_get("user.x", trigger) }}{{ config["user.y"] }}{{ devices[path] }}'
    reads = compile(text, DIALECTS["v6"]).reads
    assert [(read.path, read.key) for read in reads] == [
        (("instance", "name"), None),
        (("config_get",), "user.x"),
        (("trigger",), None),
        (("config", "user.y"), "user.y"),
        (("devices",), None),
        (("path",), None),
    ]
    assert [span.text for span in reads[0].spans] == ["instance", "name"]
    assert reads[0].span.text == "instance.name"
