"""``{% extends %}``. test_suite.py has the tests of pongo2's own suite."""

import pytest

from templater.model.errors import LimitError, TemplateError
from templater.pongo2.dialect import DIALECTS, V4, V6, V61
from tests.unit.pongo2.memory_loader import banned, render


@pytest.mark.parametrize("dialect", list(DIALECTS.values()))
def test_the_extends_tag_is_banned_in_images(dialect):
    assert banned("extends", dialect)


BASE = "<{% block a %}A{% endblock %}|{% block b %}B{{ x }}{% endblock %}>"


def test_a_child_template_replaces_blocks_without_printing_its_other_text():
    assert render("{% extends 'base.tpl' %}ignored{% block b %}C{% endblock %}", base_tpl=BASE) == "<A|C>"


def test_tags_in_parent_and_child_templates_keep_separate_state():
    base = "{% cycle 1 2 %}{% ifchanged 1 %}a{% endifchanged %}|{% block b %}{% endblock %}"
    child = "{% cycle 1 2 %}{% ifchanged 1 %}b{% endifchanged %}"
    template = f"{{% extends 'base.tpl' %}}{{% block b %}}{child}{{% endblock %}}"
    assert render(template, base_tpl=base) == "1a|1b"


@pytest.mark.parametrize("dialect", [V4, V6])
def test_v6_does_not_escape_the_super_field_again(dialect):
    text = render(
        "{% extends 'base.tpl' %}{% block b %}[{{ block.Super }}]{% endblock %}",
        dialect=dialect, context={"x": "<"}, base_tpl=BASE,
    )  # fmt: skip
    assert text == ("<A|[B&lt;]>" if dialect is V6 else "<A|[B&amp;lt;]>")


def test_v4_ignores_an_error_in_the_super_field():
    child, base = (
        "{% extends 'base.tpl' %}{% block a %}[{{ block.Super }}]{% endblock %}",
        "{% block a %}x{{ -s }}{% endblock %}",
    )
    assert render(child, dialect=V4, context={"s": "s"}, base_tpl=base) == "[]"
    for dialect in (V6, V61):
        with pytest.raises(TemplateError) as raised:
            render(child, dialect=dialect, context={"s": "s"}, base_tpl=base)
        assert raised.value.span.place == "base.tpl:1:19"
        assert raised.value.pongo2_error == (
            "[Error (where: execution) in main.tpl | Line 1 Col 42 near 'block'] "
            "[Error (where: execution) in base.tpl | Line 1 Col 19 near 's'] Negative sign on a non-number expression"
        )


def test_the_super_field_works_across_three_levels_of_extends():
    middle = "{% extends 'base.tpl' %}{% block a %}M{{ block.Super }}{% endblock %}"
    child = "{% extends 'middle.tpl' %}{% block a %}C{{ block.Super }}{% endblock %}"
    assert render(child, base_tpl=BASE, middle_tpl=middle) == "<CMA|B>"


def test_the_extends_tag_must_be_at_the_top():
    with pytest.raises(TemplateError, match="root level"):
        render("{% if 1 %}{% extends 'base.tpl' %}{% endif %}", base_tpl=BASE)
    with pytest.raises(TemplateError, match="already one parent"):
        render("{% extends 'base.tpl' %}{% extends 'base.tpl' %}", base_tpl=BASE)
    with pytest.raises(TemplateError, match="requires a template filename"):
        render("{% extends x %}")


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{% if 1 %}{% extends 'a.tpl' %}{% endif %}", "The 'extends' tag can only defined on root level."),
        ("{% extends 'a.tpl' %}{% extends 'a.tpl' %}", "This template has already one parent."),
        ("{% extends x %}", "Tag 'extends' requires a template filename as string."),
        ("{% extends 'a.tpl' x %}", "Tag 'extends' does only take 1 argument."),
        ("{% import x f %}", "Import-tag needs a filename as string."),
        ("{% import 'a.tpl' %}", "You must at least specify one macro to import."),
        ("{% import 'a.tpl' 1 %}", "Expected macro name (identifier)."),
        ("{% import 'a.tpl' f as 1 %}", "Expected macro alias name (identifier)."),
        ("{% import 'a.tpl' f g %}", "Expected ','."),
        ("{% import 'a.tpl' g %}", "Macro 'g' not found (or not exported) in 'a.tpl'."),
        ("{% ssi x %}", "First argument must be a string."),
        ("{% ssi 'a.tpl' x %}", "Malformed SSI-tag argument."),
        ("{% include 'a.tpl' x %}", "Malformed 'include'-tag arguments."),
    ],
)
def test_malformed_tags_with_template_names_give_the_pongo2_error(template, says):
    with pytest.raises(TemplateError) as caught:
        render(template, a_tpl="{% macro f() export %}{% endmacro %}")
    assert caught.value.pongo2_error.endswith(says), caught.value.pongo2_error


def test_errors_in_a_parent_template_have_their_position_there():
    with pytest.raises(TemplateError) as raised:
        render("{% extends 'base.tpl' %}", base_tpl="a{{ 1|nope }}")
    assert raised.value.span.place == "base.tpl:1:7"


@pytest.mark.parametrize("dialect", [V4, V6])
def test_a_child_template_may_nest_blocks_in_the_opposite_order(dialect):
    """Recorded with pongo2 4.0.2 and 6.0.0: the child's b replaces the base's b, which contains a."""
    base = "[{% block b %}B{% block a %}A{% endblock %}{% endblock %}]"
    child = "{% extends 'base.tpl' %}{% block a %}a{% block b %}b{% endblock %}{% endblock %}"
    assert render(child, dialect=dialect, base_tpl=base) == "[b]"


@pytest.mark.parametrize("dialect", [V4, V6])
def test_mutually_nested_blocks_hit_the_nesting_limit(dialect):
    """In Go, these blocks overflow the stack and end the process."""
    base = "{% block b %}{% block a %}{% endblock %}{% endblock %}"
    child = "{% extends 'base.tpl' %}{% block a %}{% block b %}{{ block.Super }}{% endblock %}{% endblock %}"
    with pytest.raises(LimitError):
        render(child, dialect=dialect, base_tpl=base)


def test_each_block_of_a_long_chain_is_compiled_once():
    names = [f"b{number}" for number in range(10)]
    nested = ""
    for name in reversed(names):
        nested = f"{{% block {name} %}}{name}{nested}{{% endblock %}}"
    shelf = {"t0_tpl": nested} | {
        f"t{number}_tpl": f"{{% extends 't{number - 1}.tpl' %}}{nested}" for number in range(1, 30)
    }
    assert render(f"{{% extends 't29.tpl' %}}{nested}", **shelf) == "".join(names)
