"""The limits of the parser: exact boundaries, and the page that documents them."""

import re
from pathlib import Path

import pytest

from templater import pongo2
from templater.model.entry import TEMPLATE_BYTES
from templater.model.errors import LimitError
from templater.pongo2 import template_loading, values
from templater.pongo2.dialect import V6
from templater.pongo2.syntax import expression_parser, lexer, template_parser

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
    limit = getattr(expression_parser, name)
    pongo2.compile(make(limit), V6, mode="plain")
    with pytest.raises(LimitError, match=f"more than {limit} ") as caught:
        pongo2.compile(make(limit + 1), V6, mode="plain")
    assert caught.value.span is not None


def test_template_blocks_nest_up_to_the_limit():
    def nested(n):
        return "{% if 1 %}" * n + "{% endif %}" * n

    pongo2.compile(nested(template_parser.MAX_BLOCKS), V6, mode="plain")
    with pytest.raises(LimitError, match="blocks nest deeper than 100"):
        pongo2.compile(nested(template_parser.MAX_BLOCKS + 1), V6, mode="plain")


def test_the_documented_language_limits_equal_the_real_limits():
    documented = [
        int(n.replace(",", "")) for n in re.findall(r"\| ([\d,]+) \|$", PAGE.read_text("utf-8"), re.M)
    ]
    assert documented == [
        TEMPLATE_BYTES,
        lexer.MAX_TOKENS,
        template_parser.MAX_BLOCKS,
        expression_parser.MAX_NESTING,
        expression_parser.MAX_CHAIN,
        expression_parser.MAX_PARTS,
        template_loading.MAX_TEMPLATES,
        values.MAX,
    ]
