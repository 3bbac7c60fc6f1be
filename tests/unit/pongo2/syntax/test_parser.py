"""The limits of the parser: exact boundaries, and the page that documents them."""

import re
from pathlib import Path

import pytest

from templater import pongo2
from templater.model.entry import TEMPLATE_BYTES
from templater.model.errors import LimitError, TemplateError
from templater.pongo2 import parse_with_includes, values
from templater.pongo2.dialect import V6
from templater.pongo2.execution import short_message
from templater.pongo2.names_read import config_keys
from templater.pongo2.syntax import lexer, parser

PAGE = Path(__file__).parents[4] / "docs" / "limits.md"

#: (limit, template with n of the limited elements, difference between n and the limit)
BOUNDARIES = [
    ("MAX_NESTING", lambda n: "{{ 1" + " == 1" * n + " }}"),
    ("MAX_NESTING", lambda n: "{{ 1" + "^1" * n + " }}"),
    ("MAX_NESTING", lambda n: "{{ " + "f(" * n + "1" + ")" * n + " }}"),
    ("MAX_NESTING", lambda n: "{{ " + "a[" * n + "1" + "]" * n + " }}"),
    ("MAX_CHAIN", lambda n: "{{ 1" + " + 1" * n + " }}"),
    ("MAX_CHAIN", lambda n: "{{ 1" + " * 1" * n + " }}"),
    ("MAX_CHAIN", lambda n: "{{ 1" + " and 1" * n + " }}"),
    ("MAX_CHAIN", lambda n: "{{ 1" + " or 1" * n + " }}"),
    ("MAX_CHAIN", lambda n: "{{ 1" + "|upper" * n + " }}"),
    ("MAX_CHAIN", lambda n: "{{ " + "(" * n + "1" + ")" * n + " }}"),
    ("MAX_CHAIN", lambda n: "{{ f(" + "1," * n + ") }}"),
    ("MAX_PARTS", lambda n: "{{ a" + ".b" * (n - 1) + " }}"),
]


@pytest.mark.parametrize(("name", "make"), BOUNDARIES, ids=[f"{name} {make(2)}" for name, make in BOUNDARIES])
def test_a_template_at_a_limit_compiles_and_a_larger_one_fails(name, make):
    limit = getattr(parser, name)
    pongo2.compile(make(limit), V6, mode="plain")
    with pytest.raises(LimitError, match=f"more than {limit} ") as caught:
        pongo2.compile(make(limit + 1), V6, mode="plain")
    assert caught.value.span is not None


def test_template_blocks_can_be_nested_up_to_the_limit():
    def nested(n):
        return "{% if 1 %}" * n + "{% endif %}" * n

    pongo2.compile(nested(parser.MAX_BLOCKS), V6, mode="plain")
    with pytest.raises(LimitError, match="blocks nest deeper than 100"):
        pongo2.compile(nested(parser.MAX_BLOCKS + 1), V6, mode="plain")


def test_the_documented_language_limits_equal_the_real_limits():
    documented = [
        int(n.replace(",", "")) for n in re.findall(r"\| ([\d,]+) \|$", PAGE.read_text("utf-8"), re.M)
    ]
    assert documented == [
        TEMPLATE_BYTES,
        lexer.MAX_TOKENS,
        parser.MAX_BLOCKS,
        parser.MAX_NESTING,
        parser.MAX_CHAIN,
        parser.MAX_PARTS,
        parse_with_includes.MAX_TEMPLATES,
        values.MAX,
    ]


def test_a_number_outside_the_range_of_go_is_an_error():
    assert pongo2.compile("{{ " + "9" * 300 + ".5 }}", V6, mode="plain").render({})
    with pytest.raises(TemplateError) as caught:
        pongo2.compile("{{ " + "9" * 400 + ".5 }}", V6, mode="plain")
    assert caught.value.message.startswith('strconv.ParseFloat: parsing "999')
    assert "value out of range" in caught.value.explain()
    assert caught.value.span.place == "<template>:1:4"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("Filter failed.", "filter failed"),
        ("EOF reached", "EOF reached"),
        ("x" * 400, "x" * 400),
        ("x" * 401, "x" * 400 + "…"),
        ("a\x1bb", "a\\x1bb"),
        ("", ""),
    ],
)
def test_a_message_of_pongo2_becomes_printable_and_short(message, text):
    assert short_message(message) == text


def test_keys_of_very_large_templates_are_not_listed(monkeypatch):
    template = b'{{ config_get("user.b", "") }}{{ config.user.a }}{{ config["user.c"] }}{{ config[x] }}'
    assert "user.b" in config_keys(template, V6) and "user.c" in config_keys(template, V6)
    assert config_keys(b"{% if %}", V6) == ()
    monkeypatch.setattr("templater.pongo2.names_read.MAX_FOR_KEYS", len(template))
    assert config_keys(template, V6)
    monkeypatch.setattr("templater.pongo2.names_read.MAX_FOR_KEYS", len(template) - 1)
    assert config_keys(template, V6) == ()
