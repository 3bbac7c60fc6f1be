"""The JSON lines interface: one answer line for each request line, in order, even for an invalid line."""

import base64
import json
import subprocess
import sys

import pytest

from templater.pongo2.__main__ import answer, main

INCUS = {
    "trigger": "create",
    "path": "/etc/hostname",
    "instance": {"name": "web01"},
    "config": {"user.foo": "bar\n"},
    "devices": {"eth0": {"type": "nic"}},
    "properties": {"os": "debian"},
}


def asked(**request):
    return answer(json.dumps(request).encode())


def output(template, context=None, **more):
    return asked(template=template, context=context or {}, mode="plain", **more).get("output")


def test_each_request_line_gets_one_response_line():
    lines = [
        {"id": 1, "template": "{{ x }}", "context": {"x": 5}},
        {"id": "two", "template": "{{"},
        {"id": [3]},
    ]
    data = "".join(json.dumps(line) + "\n" for line in lines) + "\n  \nno json\n"
    ran = subprocess.run(
        [sys.executable, "-m", "templater.pongo2", "--jsonl"],
        input=data.encode(),
        capture_output=True,
        check=True,
    )
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [a["id"] for a in answers] == [1, "two", [3], None]
    assert answers[0] == {"id": 1, "output": "5"}
    assert [a.get("kind") for a in answers[1:]] == ["syntax", "request", "request"]


@pytest.mark.parametrize("number", ["\ud800", 12345678901234567890123, 1.0, {"a": ["\udfff"]}])
def test_a_json_response_has_the_id_of_its_request_unchanged(number):
    assert asked(id=number, template="x", context={})["id"] == number


def test_missing_or_unknown_command_line_arguments_are_refused(capsys):
    assert main([]) == main(["--nope"]) == 2
    assert "--jsonl" in capsys.readouterr().err


def test_each_json_context_value_has_the_matching_go_type():
    context = {"l": ["a"], "m": {"a": 1}, "f": 1.0, "n": 1, "x": None, "i": [1, 2], "e": []}
    template = "{{ l }} {{ m }} {{ f }} {{ n }} [{{ x }}] {{ i }} {{ e }}"
    assert output(template, context) == (
        "<[]string Value> <map[string]interface {} Value> 1.000000 1 [] <[]int Value> <[]interface {} Value>"
    )


def test_variables_in_incus_mode_have_the_go_types_of_the_daemon():
    template = '{{ trigger == "create" }} {{ config }} {{ devices }} {{ container.name }} {{ config_get("user.foo", 1) }}'
    reply = asked(template=template, context=INCUS, mode="incus")
    assert reply["output"] == "False <map[string]string Value> <config.Devices Value> web01 bar"
    assert asked(template="[{{ path }}{{ config_get('a', 'b') }}]", mode="incus")["output"] == "[b]"


def test_a_template_in_incus_mode_cannot_include_files():
    reply = asked(template='{% include "x" %}', context=INCUS, mode="incus")
    assert "not allowed" in reply["pongo2_error"]


@pytest.mark.parametrize(("dialect", "text"), [("v4", "0"), ("v6", "ab"), ("v6.1", "ab")])
def test_a_json_request_can_select_the_dialect(dialect, text):
    assert output('{{ "a" + "b" }}', dialect=dialect) == text


def test_the_default_dialect_of_a_json_request_is_v6():
    assert output('{{ "a" + "b" }}') == "ab"


def test_the_options_of_a_json_request_change_the_output():
    template = "  {% if true %}\nx{% endif %}"
    assert output(template) == "  \nx"
    assert output(template, options={"trim_blocks": True, "lstrip_blocks": True}) == "x"


def test_a_null_option_in_a_json_request_means_the_default():
    assert asked(template="{{ x }}.", context=None, options=None)["output"] == "."


def test_the_error_about_a_json_request_mentions_an_unknown_option():
    reply = asked(template="x", options={"trim_block": True})
    assert reply["error"] == 'bad request: unknown option "trim_block", not one of trim_blocks, lstrip_blocks'


def test_bytes_in_a_json_request_and_response_are_base64():
    template = base64.b64encode(b"\xff{{ 1 }}").decode()
    assert base64.b64decode(asked(template_b64=template)["output_b64"]) == b"\xff1"


def test_an_error_response_has_the_pongo2_message_and_position():
    reply = asked(id=1, template="a\n{{ x|nosuch }}", mode="plain")
    assert reply["kind"] == "syntax"
    assert (reply["line"], reply["column"]) == (2, 6)
    assert reply["pongo2_error"].endswith("Filter 'nosuch' does not exist.")
    assert asked(template="{{ 1 / 0 }}")["kind"] == "render"


def test_a_lone_surrogate_in_a_json_request_becomes_a_replacement_character():
    assert answer(rb'{"template": "{{ x }}\udcff", "context": {"x": "\ud83d"}}') == {
        "id": None,
        "output": "\ufffd\ufffd",
    }
    assert answer(rb'{"template": "\ud83d\ude00"}') == {"id": None, "output": "😀"}


def test_json_numbers_beyond_64_bits_become_floats():
    assert output("{{ x }}", {"x": 2**63}) == "9223372036854775808.000000"
    assert output("{{ x }}", {"x": -(2**63)}) == "-9223372036854775808"
    assert output("{{ x }}", {"x": -(2**63) - 1}) == "-9223372036854775808.000000"
    assert output("{{ x > 0 }}", {"x": [2**63 - 1]}) == "False"
    assert output("{{ x|length }}", {"x": 10**308}) == "0"
    assert output('{{ x|stringformat:"%g" }}', {"x": 10**308}) == "1e+308"
    assert output("{{ x }}", {"x": 10**400}) == "+Inf"
    assert output("{{ x.0 }}", {"x": [-(10**309)]}) == "-Inf"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"5",
        b"{",
        b'{"template": 5}',
        b"{}",
        b'{"template": "x", "context": []}'[:-1] + b', "mode": "plain", "options": 5}',
        b'{"template": "x", "context": 5}',
        b'{"template": "x", "context": []}',
        b'{"template": "x", "context": ""}',
        b'{"template": "x", "context": false}',
        b'{"template": "x", "options": {"trim_block": true}}',
        b'{"template": "x", "options": {"trim_blocks": "no"}}',
        b'{"template": "x", "options": 0}',
        b'{"template": "x", "mode": "lxd"}',
        b'{"template": "x", "mode": ["plain"]}',
        b'{"template": "x", "dialect": "v7"}',
        b'{"template": "x", "dialect": null}',
        b'{"template_b64": "%"}',
        b'{"template": "{{ x }}", "context": {"x": NaN}}',
        b'{"template": "x", "context": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"template": "x", "context": {"x": ' + b"9" * 10_000 + b"}}",
        b"\xff\xfe",
    ],
)
def test_an_invalid_json_line_gets_an_error_as_response(line):
    reply = answer(line)
    assert reply["kind"] == "request"
    assert reply["error"].startswith("bad request: ")
    json.dumps(reply)


def test_a_json_request_with_any_type_of_context_gets_a_response():
    for value in ("x", 5, None, [], [1], {"a": 5}):
        for name in INCUS:
            assert "id" in asked(
                id=1, template="{{ devices }}{{ config }}", context={name: value}, mode="incus"
            )
    assert asked(template="x", context={"a-b": 1})["kind"] == "render"


def test_a_json_error_about_invalid_utf8_is_valid_json():
    reply = asked(template_b64=base64.b64encode(b"{{ x|\xff }}").decode())
    assert reply["kind"] == "syntax"
    json.dumps(reply, ensure_ascii=False).encode()  # fails for half a surrogate pair
    assert "\ufffd" in reply["pongo2_error"]


@pytest.mark.parametrize(
    ("request_line", "mistake"),
    [
        ("[]", "a request must be a JSON object"),
        ('{"a": NaN}', "NaN is not valid JSON"),
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("{}", "template is not a string"),
        ('{"template": 1}', "template is not a string"),
        ('{"template_b64": "?"}', "template_b64 is not base64"),
        ('{"template": "", "mode": "x"}', 'mode is "x", not one of plain, incus'),
        ('{"template": "", "dialect": "v5"}', 'dialect is "v5", not one of v4, v6, v6.1'),
        (
            '{"template": "", "options": {"x": true}}',
            'unknown option "x", not one of trim_blocks, lstrip_blocks',
        ),
        ('{"template": "", "options": {"trim_blocks": 1}}', "options: trim_blocks is 1, not true or false"),
        ('{"template": "", "options": 1}', "options is 1, not an object"),
        ('{"template": "", "context": "%s"}' % ("a" * 50), f'context is "{"a" * 39}, not an object'),
    ],
)
def test_a_bad_request_gets_a_message_about_the_mistake(request_line, mistake):
    assert answer(request_line.encode()) == {
        "id": None,
        "error": f"bad request: {mistake}",
        "kind": "request",
    }
