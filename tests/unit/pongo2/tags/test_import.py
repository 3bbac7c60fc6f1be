"""``{% import %}``. test_suite.py has the tests of pongo2's own suite."""

import pytest

from templater.model.errors import TemplateError
from templater.pongo2.dialect import DIALECTS, V4, V6
from tests.unit.pongo2.memory_loader import banned, render


@pytest.mark.parametrize("dialect", list(DIALECTS.values()))
def test_the_import_tag_is_banned_in_images(dialect):
    assert banned("import", dialect)


MACROS = "{% macro f(a) export %}[{{ a }}{{ x }}]{% endmacro %}{% macro g() %}{% endmacro %}"


def test_an_imported_macro_is_called_by_name_or_alias():
    assert render("{% import 'm.tpl' f %}{{ f(1) }}", m_tpl=MACROS) == "[1]"
    assert render("{% import 'm.tpl' f as h, f %}{{ h(1) }}{{ f(2) }}", m_tpl=MACROS) == "[1][2]"


def test_an_imported_macro_can_read_the_variables_of_the_importing_template():
    assert render("{% set x = 3 %}{% import 'm.tpl' f %}{{ f(1) }}", m_tpl=MACROS) == "[13]"


def test_an_imported_macro_takes_blocks_from_the_importing_template():
    macro = "{% macro f() export %}<{% block a %}no{% endblock %}>{% endmacro %}"
    block = "{% block a %}x{% endblock %}"
    assert render("{% import 'm.tpl' f %}" + block + "{{ f() }}", m_tpl=macro) == "x<x>"
    assert render("{% import 'm.tpl' f %}y", m_tpl=macro) == "y"
    with pytest.raises(TemplateError, match="internal error: len"):
        render("{% import 'm.tpl' f %}{{ f() }}", m_tpl=macro)


def test_an_error_message_uses_the_original_name_of_an_imported_macro():
    with pytest.raises(TemplateError, match="'f' called with too many"):
        render("{% import 'm.tpl' f as h %}{{ h(1, 2) }}", m_tpl=MACROS)


def test_importing_an_unexported_macro_fails():
    with pytest.raises(TemplateError, match="not exported"):
        render("{% import 'm.tpl' g %}", m_tpl=MACROS)


@pytest.mark.parametrize(
    "arguments", ["x", "'m.tpl'", "'m.tpl' 1", "'m.tpl' f as 1", "'m.tpl' f f", "'n.tpl' f"]
)
def test_an_import_tag_with_invalid_syntax_is_an_error(arguments):
    with pytest.raises(TemplateError):
        render("{% import " + arguments + " %}", m_tpl=MACROS)


def test_imported_macros_work_the_same_in_v4_and_v6():
    assert render("{% import 'm.tpl' f %}{{ f(1) }}", dialect=V4, m_tpl=MACROS) == "[1]"
    assert render("{% import 'm.tpl' f %}{{ f(1) }}", dialect=V6, m_tpl=MACROS) == "[1]"


def test_a_cycle_tag_in_an_imported_macro_has_its_own_state():
    macro = "{% macro f() export %}{% cycle 1 2 %}{% endmacro %}"
    assert render("{% import 'a.tpl' f %}{% cycle 1 2 %}{{ f() }}", a_tpl=macro) == "11"


def test_a_comma_may_follow_the_last_imported_macro():
    assert render("{% import 'm.tpl' f, %}{{ f(1) }}", m_tpl=MACROS) == "[1]"
