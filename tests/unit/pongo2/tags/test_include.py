"""``{% include %}``. test_suite.py has the tests of pongo2's own suite."""

import pytest

from templater import pongo2
from templater.model.errors import LimitError, TemplateError
from templater.model.source import Source
from templater.pongo2 import render_state
from templater.pongo2.dialect import DIALECTS, V4, V6
from templater.pongo2.parse_with_includes import MAX_TEMPLATES
from templater.pongo2.render_state import Limits
from tests.unit.pongo2.memory_loader import MemoryLoader, banned, render


@pytest.mark.parametrize("dialect", list(DIALECTS.values()))
def test_the_include_tag_is_banned_in_images(dialect):
    assert banned("include", dialect)


def test_an_included_template_cannot_change_the_variables_of_the_including_template():
    text = render("{% set x = 1 %}{% include 'a.tpl' %}{{ x }}", a_tpl="[{{ x }}{% set x = 2 %}{{ x }}]")
    assert text == "[12]1"


@pytest.mark.parametrize(
    ("template", "included", "text"),
    [
        ("{% set f = 1 %}{% include 'a.tpl' %}{{ f }}", "{% macro f() %}m{% endmacro %}{{ f() }}", "m1"),
        ("{% autoescape off %}{% include 'a.tpl' %}{% endautoescape %}{% macro f() %}{% endmacro %}", "{{ '<' }}", "&lt;"),
    ],
)  # fmt: skip
def test_an_included_template_gets_variables_but_no_internal_state(template, included, text):
    assert render(template, a_tpl=included) == text


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("template", "included", "old", "new"),
    [
        ("{% include 'a.tpl' %}", "{% cycle 1 2 %}", "121", "111"),
        ("{% ssi 'a.tpl' parsed %}", "{% cycle 1 2 %}", "121", "111"),
        ("{% include 'a.tpl' %}", "{% ifchanged 1 %}x{% else %}y{% endifchanged %}", "xyy", "xxx"),
        ("{% include 'a.tpl' %}{% include 'a.tpl' %}", "{% cycle 1 2 %}", "112211", "111111"),
        ("{% include n %}", "{% cycle 1 2 %}", "111", "111"),
    ],
)
def test_included_templates_keep_the_tag_state_before_v6_1(dialect, template, included, old, new):
    """The outputs were recorded from pongo2 4.0.2, 6.0.0 and 6.1.0."""
    text = "{% for i in 'abc' %}" + template + "{% endfor %}"
    loader = MemoryLoader({"a.tpl": included})
    compiled = pongo2.compile(Source("main.tpl", text), DIALECTS[dialect], mode="plain", loader=loader)
    assert compiled.render({"n": "a.tpl"}) == (new if dialect == "v6.1" else old)


@pytest.mark.parametrize(
    ("base", "name", "found"),
    [
        ("d/main.tpl", "a.tpl", "d/a.tpl"), ("d/main.tpl", "./e/../a.tpl", "d/a.tpl"),
        ("d/main.tpl", "../a.tpl", "a.tpl"), ("d/main.tpl", "/e/./a.tpl", "/e/a.tpl"),
        ("<string>", "a.tpl", "a.tpl"), ("<string>", "./a.tpl", "a.tpl"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_computed", [False, True])
def test_an_included_name_is_relative_to_the_including_template(base, name, found, is_computed):
    source = Source(base, "{% include n %}" if is_computed else f"{{% include {name!r} %}}")
    template = pongo2.compile(source, mode="plain", loader=MemoryLoader({found: "A"}))
    assert template.render({"n": name}) == "A"


def test_an_earlier_variable_clashes_with_an_exported_macro():
    macro = "{% macro f() export %}m{% endmacro %}{{ f() }}"
    assert render("{% include 'a.tpl' %}{% set f = 1 %}", a_tpl=macro) == "m"
    with pytest.raises(TemplateError, match="context key name 'f' clashes with macro 'f'"):
        render("{% set f = 1 %}{% include 'a.tpl' %}", a_tpl=macro)
    with pytest.raises(TemplateError, match="context key name 'f' clashes with macro 'f'"):
        render("{% include 'a.tpl' %}{% set f = 1 %}", context={"f": None}, a_tpl=macro)


def test_outer_variables_are_hidden_by_the_keyword_named_only():
    source = "{{ x }}{{ y }}|"
    assert render("{% include 'a.tpl' with y=2 %}", context={"x": 1}, a_tpl=source) == "12|"
    assert render("{% include 'a.tpl' with y=2 only %}", context={"x": 1}, a_tpl=source) == "2|"


def test_the_template_name_of_an_include_tag_may_be_an_expression():
    assert render("{% include n %}", context={"n": "a.tpl"}, a_tpl="A{{ n }}") == "Aa.tpl"
    assert render("{% include n if_exists %}|", context={"n": "b.tpl"}) == "|"
    with pytest.raises(TemplateError):
        render("{% include n %}", context={"n": "b.tpl"})
    with pytest.raises(TemplateError, match="empty"):
        render("{% include n %}", context={"n": ""})


@pytest.mark.parametrize(
    "tag", ["extends 'a.tpl'", "import 'a.tpl' f", "include 'a.tpl'", "ssi 'a.tpl' parsed"]
)
def test_every_template_counts_as_missing_if_there_is_no_loader(tag):
    texts = []
    for loader in (None, MemoryLoader({})):
        with pytest.raises(TemplateError) as caught:
            pongo2.compile(Source("<string>", f"a\n{{% {tag} %}}"), mode="plain", loader=loader)
        texts.append(caught.value.pongo2_error)
    assert texts[0] == texts[1]
    assert "in a.tpl | Line 2 " in texts[0] and texts[0].endswith("] unable to resolve template")


@pytest.mark.parametrize("number", [0, 1, 7])
def test_the_include_tag_accepts_a_number_as_template_name(number):
    text = render("{% include 'a.tpl' %}{% include n if_exists %}|", context={"n": number}, a_tpl="A")
    assert text == "A|"
    assert render("{% include n %}", context={"n": number}, **{str(number): "{{ n }}!"}) == f"{number}!"
    with pytest.raises(TemplateError, match="unable to resolve template"):
        render("{% include 'a.tpl' %}{% include n %}", context={"n": number}, a_tpl="A")


def test_a_missing_template_gives_an_error_at_its_name():
    assert render("{% include 'b.tpl' if_exists %}|") == "|"
    with pytest.raises(TemplateError) as raised:
        render("a\n{% include 'b.tpl' %}")
    assert raised.value.span.place == "main.tpl:2:12"


@pytest.mark.parametrize("tag", ["include 'nope.tpl'", "extends 'nope.tpl'", "import 'nope.tpl' f"])
@pytest.mark.parametrize("name", ["'a.tpl'", "n"])
def test_the_if_exists_keyword_covers_missing_nested_templates(tag, name):
    files = {"a_tpl": f"A{{% {tag} %}}"}
    assert render(f"{{% include {name} if_exists %}}|", context={"n": "a.tpl"}, **files) == "|"
    with pytest.raises(TemplateError, match=r"nope\.tpl|unable to resolve"):
        render(f"{{% include {name} %}}|", context={"n": "a.tpl"}, **files)
    with pytest.raises(TemplateError):
        render(f"{{% include {name} if_exists %}}|", context={"n": "a.tpl"}, a_tpl="{{ 1")


def test_an_included_template_starts_with_autoescape_enabled():
    text = render(
        "{% autoescape off %}{% include 'a.tpl' %}{% endautoescape %}", context={"x": "<"}, a_tpl="{{ x }}"
    )
    assert text == "&lt;"


@pytest.mark.parametrize("dialect", [V4, V6])
def test_errors_in_an_included_template_have_their_position_there(dialect):
    with pytest.raises(TemplateError) as raised:
        render("{% include 'a.tpl' %}", dialect=dialect, context={"x": "s"}, a_tpl="\n {{ x.y }}")
    assert raised.value.span.place == "a.tpl:2:5"


def test_computed_template_names_are_treated_as_missing_without_loader():
    compiled = pongo2.compile("{% include n if_exists %}|", mode="plain")
    assert compiled.render({"n": "a.tpl"}) == "|"
    with pytest.raises(TemplateError) as caught:
        pongo2.compile("{% include n %}", mode="plain").render({"n": "a.tpl"})
    assert caught.value.pongo2_error.endswith("unable to resolve template")


def test_includes_with_computed_names_can_be_nested_a_hundred_times():
    """Includes that are not nested do not count."""
    context = {f"n{number}": f"f{number}.tpl" for number in range(101)} | {"l": "x" * 150, "m": "x.tpl"}
    for last in (99, 100):
        files = {f"f{number}_tpl": f"{{% include n{number + 1} %}}" for number in range(last)}
        files |= {f"f{last}_tpl": "end", "x_tpl": "."}
        template = "{% for x in l %}{% include m %}{% endfor %}{% include n0 %}"
        if last == 99:
            assert render(template, context=context, **files) == "." * 150 + "end"
        else:
            with pytest.raises(LimitError, match="more than 100 macro calls and includes are nested"):
                render(template, context=context, **files)


@pytest.mark.parametrize(
    ("included", "limits", "message"),
    [
        ("{% for x in l %}{{ x }}{% endfor %}", {"steps": 1000}, "takes more than 1000 steps"),
        ("{% set a = 'x'|ljust:5000 %}", {"values": 20_000}, "builds more than 20000 characters of values"),
    ],
)
def test_all_included_templates_together_have_the_limits_of_one_template(included, limits, message):
    template = "{% include n %}" * 10
    compiled = pongo2.compile(template, mode="plain", loader=MemoryLoader({"a.tpl": included}))
    context = {"n": "a.tpl", "l": "x" * 100}
    compiled.render(context)
    with pytest.raises(LimitError, match=message):
        compiled.render(context, limits=Limits(**limits))


def test_the_time_limit_of_a_template_also_covers_its_included_templates(monkeypatch):
    now = [0.0]

    class SlowLoader:
        def read(self, name):
            now[0] = 5.1
            return "{% set a = 'x'|ljust:2000 %}"

    monkeypatch.setattr(render_state, "thread_time", lambda: now[0])
    compiled = pongo2.compile("{% include n %}", mode="plain", loader=SlowLoader())
    with pytest.raises(LimitError, match="runs longer than 5 seconds"):
        compiled.render({"n": "a.tpl"}, limits=Limits(seconds=5.0))


def test_an_included_template_continues_the_random_numbers_of_the_including_template():
    part = "{{ 'abcdefghijklmnop'|random }}"
    template = f"{part}{{% include n %}}{part}{{% include n %}}"
    compiled = pongo2.compile(template, mode="plain", loader=MemoryLoader({"a.tpl": part}))
    plain = pongo2.compile(part * 4, mode="plain")
    assert compiled.render({"n": "a.tpl"}, seed=1) == plain.render({}, seed=1)


def test_an_included_template_prints_the_same_time_throughout_a_render(monkeypatch):
    times = iter(range(0, 1000, 7))
    monkeypatch.setattr("time.time", lambda: next(times))
    compiled = pongo2.compile(
        "{% include n %} " * 3, mode="plain", loader=MemoryLoader({"a.tpl": "{% now '05' %}"})
    )
    assert len(set(compiled.render({"n": "a.tpl"}).split())) == 1


def test_a_self_including_template_hits_the_nesting_limit():
    with pytest.raises(LimitError):
        render("{% include 'a.tpl' %}", a_tpl="{% include 'a.tpl' %}")
    with pytest.raises(LimitError):
        render("{% include n %}", context={"n": "a.tpl"}, a_tpl="{% include n %}")


def test_a_chain_of_includes_may_have_a_hundred_templates():
    def files(count):
        names = {f"f{n}_tpl": f'{{% include "f{n + 1}.tpl" %}}' for n in range(count)}
        return names | {f"f{count}_tpl": "end"}

    main = '{% include "f0.tpl" %}'
    assert render(main, **files(MAX_TEMPLATES - 2)) == "end"  # the main template counts
    with pytest.raises(LimitError, match=f"more than {MAX_TEMPLATES} templates are compiled together"):
        render(main, **files(MAX_TEMPLATES - 1))
