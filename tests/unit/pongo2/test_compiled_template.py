"""Compiled templates: kept and run again, their errors, and what running them needs."""

import marshal
import subprocess
import sys
from pathlib import Path

import pytest

from templater import pongo2
from templater.model.errors import InputError, LimitError, RenderError, TemplateSyntaxError
from templater.model.hosts import HOSTS
from templater.model.source import Source
from templater.pongo2 import execution
from templater.pongo2.daemon_context import daemon_context
from templater.pongo2.dialect import DIALECTS, V4, V6
from templater.pongo2.render_state import Limits
from templater.pongo2.syntax.hints import OLD_HOSTS

ROOT = Path(__file__).parents[3]
CONTEXT = daemon_context("create", "/etc/hostname", {"name": "c1"}, {"user.a": "b\n"}, {}, {})

USES = (
    '{{ 1|stringformat:"%05d" }}{{ 2^3 }}{% now "2006" %}{% lorem 1 w %}{{ "<b>x</b>"|removetags:"b" }}'
    '{% spaceless %}<a> <b>{% endspaceless %}{% for x in l %}{% cycle "a" "b" %}{% endfor %}{{ "a.b@c.de"|urlize }}'
    "{% macro f() %}m{% endmacro %}{{ f() }}{{ instance.name }}"
)

CHILD = """
import marshal, sys
from templater.pongo2 import execution, values, daemon_context
code = marshal.loads(sys.stdin.buffer.read())
for name in sys.argv[1:]:
    __import__(name)
before = set(sys.modules)
text = execution.run(code, {"l": ["a", "b"], "instance": {"name": "c1"}}, clock=0)
assert "jinja2" not in sys.modules and "templater.pongo2.syntax.parser" not in sys.modules
print(text, sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize("dialect", [V4, V6])
def test_saved_code_runs_in_a_new_process_without_the_compiler(dialect):
    """The test imports the modules that the template names. Running the template imports no other module."""
    template = pongo2.compile(USES, dialect)
    answer = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{CHILD}", *template.modules],
        input=marshal.dumps(template.code), capture_output=True, check=True,
    )  # fmt: skip
    expected = template.render({"l": ["a", "b"], "instance": {"name": "c1"}}, clock=0)
    assert answer.stdout.decode() == f"{expected} []\n"


def test_a_plain_template_needs_no_filter_or_tag_modules():
    assert pongo2.compile('{{ instance.name }}{{ config_get("a", "b") }}').modules == ()


def test_generated_code_is_deterministic():
    """The comparison uses version 2 of the format of marshal.

    Later versions mark shared objects, and these depend on the process.
    """
    assert marshal.dumps(pongo2.compile(USES).code, 2) == marshal.dumps(pongo2.compile(USES).code, 2)


def test_two_renders_of_one_template_share_no_state():
    template = pongo2.compile("{{ x }}{% set x = 1 %}{% cycle 'a' 'b' %}{% ifchanged %}c{% endifchanged %}")
    assert template.render({}) == template.render({}) == "ac"


def explained(source, dialect=V6, context=CONTEXT):
    with pytest.raises((TemplateSyntaxError, RenderError)) as raised:
        pongo2.compile(Source("hosts.tpl", source), dialect).render(context)
    return raised.value.explain().split("\n")


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("{{ a|default('x') }}", 'write the argument after a colon: default:"…"'),
        ("{% if a|default('x') %}{% endif %}", 'write the argument after a colon: default:"…"'),
        ("{% if a = 1 %}{% endif %}", "did you mean '=='?"),
        ("{% if a %}{% elif b = 1 %}{% endif %}", "did you mean '=='?"),
        ("{% if a }x{% endif %}", "end the tag with %}"),
        (
            "{% if a is defined %}{% endif %}",
            "pongo2 has no 'is': write {% if name %}, which is false if 'name' is not set",
        ),
        (
            "{% if a not in b %}{% endif %}",
            "write 'not' before the comparison, and put the comparison in brackets: not (a in b)",
        ),
        ("{% fro a in b %}{% endfor %}", "did you mean 'for'?"),
        ("{% foreach a in b %}{% endfor %}", "did you mean 'for'?"),
        ("{% if a %}{% elsif b %}{% endif %}", "did you mean 'elif'?"),
        ("{% raw %}{% endraw %}", "did you mean 'verbatim'?"),
        ("{% for a in b %}{% end %}", "pongo2 has no 'end': write {% endif %}, {% endfor %}, …"),
        (
            "{{ instance['name'] }}",
            "instance['name'] needs pongo2 v6, and LXD and incus-debian have v4: write instance.name",
        ),
        ("{{ x[1] }}", "x[1] needs pongo2 v6, and LXD and incus-debian have v4: write x.1"),
        (
            "{{ properties['a-b'] }}",
            "properties['a-b'] needs pongo2 v6, and LXD and incus-debian have v4: "
            "write {% for k, v in properties %}{% if k == 'a-b' %}{{ v }}{% endif %}{% endfor %}",
        ),
        (
            '{{ devices.eth0["ipv4.address"] }}',
            'devices.eth0["ipv4.address"] needs pongo2 v6, and LXD and '
            'incus-debian have v4: write {% for k, v in devices.eth0 %}{% if k == "ipv4.address" %}{{ v }}'
            "{% endif %}{% endfor %}",
        ),
        (
            "{{ devices.eth0['type'] }}",
            "devices.eth0['type'] needs pongo2 v6, and LXD and incus-debian have v4: write devices.eth0.type",
        ),
        ("{{ a . b['c d'] }}", "subscripts need pongo2 v6, and LXD and incus-debian have v4"),
        ("{{ a.b[c] }}", "a.b[c] needs pongo2 v6, and LXD and incus-debian have v4"),
        ("{{ a|toJSON }}", "pongo2 has no 'toJSON': stringformat:\"%q\" writes a text in double quotes"),
        ("{{ a|json }}", "pongo2 has no 'json': stringformat:\"%q\" writes a text in double quotes"),
    ],
)
def test_syntax_from_other_template_languages_gets_a_hint(source, hint):
    assert explained(source, V4)[-1] == f"hint: {hint}"


def test_the_template_syntax_from_the_hints_prints_the_intended_text():
    context = {"b": "abc", "x": [1, 2], "instance": {"name": "c1"}}
    text = "{% if not ('a' in b) %}yes{% endif %}{{ x.1 }}{{ instance.name }}{% if nosuch %}yes{% endif %}"
    assert pongo2.compile(text, V4).render(context) == "2c1"


def test_the_hint_about_subscripts_mentions_exactly_the_hosts_with_pongo2_v4():
    old = {host.name if host.product == "incus" else "LXD" for host in HOSTS.values() if host.dialect == "v4"}
    assert set(OLD_HOSTS.split(" and ")) == old


@pytest.mark.parametrize(
    ("source", "dialect", "lines"),
    [
        (
            "é {{ instance.name|uper }}", V6,
            ["hosts.tpl:1:20: unknown filter 'uper'", " 1 | é {{ instance.name|uper }}",
             "   |                    ^^^^", "hint: did you mean 'upper'?"],
        ),
        (
            '{{ config["user.a"] }}', V4,
            ["hosts.tpl:1:10: this pongo2 release has no subscripts", ' 1 | {{ config["user.a"] }}',
             "   |          ^^^^^^^^^^^^^",
             'hint: config["user.a"] needs pongo2 v6, and LXD and incus-debian have v4: write config_get("user.a", "")'],
        ),
        (
            "a\n{% include 'x' %}", V6,
            ["hosts.tpl:2:4: tag 'include' is not allowed in an image's templates", " 2 | {% include 'x' %}",
             "   |    ^^^^^^^", "hint: many releases of LXD and Incus forbid this tag"],
        ),
        (
            "{% if 1 %}\n{% for x in l %}x{% endfor %}\n", V6,
            ["hosts.tpl:2:30: {% if %} is never closed", " 2 | {% for x in l %}x{% endfor %}",
             "   |                              ^", "hosts.tpl:1:4: the tag begins here"],
        ),
        (
            "\t{{ instance.name.x }}", V6,
            ["hosts.tpl:1:5: can't access a field by name on type string (variable instance.name.x)",
             " 1 |  {{ instance.name.x }}", "   |     ^^^^^^^^",
             "hint: only maps have members; strings and numbers do not"],
        ),
        (
            '{{ config_get("a") }}', V6,
            ["hosts.tpl:1:4: function input argument count (2) of 'config_get' must be equal to the calling"
             " argument count (1)", ' 1 | {{ config_get("a") }}', "   |    ^^^^^^^^^^",
             "hint: config_get takes a key and a default"],
        ),
        (
            "{% endif %}", V6,
            ["hosts.tpl:1:4: {% endif %} without a {% if %} before it", " 1 | {% endif %}", "   |    ^^^^^"],
        ),
        (
            "{{ 1 / 0 }}", V6,
            ["hosts.tpl:1:4: runtime error: integer divide by zero", " 1 | {{ 1 / 0 }}", "   |    ^"],
        ),
    ],
)  # fmt: skip
def test_errors_show_the_source_position_and_a_hint(source, dialect, lines):
    assert explained(source, dialect) == lines


def test_a_macro_error_has_its_position_in_the_macro():
    with pytest.raises(RenderError) as raised:
        pongo2.compile("{% macro f(x) %}{{ x.y }}{% endmacro %}\n{{ f('a') }}").render({})
    assert raised.value.span.place == "<template>:1:20"
    assert raised.value.pongo2_error == (
        "[Error (where: execution) in <string> | Line 2 Col 4 near 'f'] [Error (where: execution) in <string>"
        " | Line 1 Col 40 near 'x'] can't access a field by name on type string (variable x.y)"
    )


def test_v4_prints_the_error_of_a_macro_as_text():
    text = pongo2.compile("{% macro f(x) %}{{ x.y }}{% endmacro %}{{ f('a') }}", V4).render({})
    assert text.startswith("[Error (where: execution) in <string> | Line 1 Col 40 near 'x'] Can't access")


def test_an_error_without_template_source_has_no_position():
    template = pongo2.compile("{{ instance.name.x }}")
    with pytest.raises(RenderError, match=r"^can't access a field by name on type string$") as raised:
        execution.run(template.code, CONTEXT)
    assert raised.value.span is None


def test_a_limit_error_gives_the_template_name():
    template = pongo2.compile(Source("hosts.tpl", '{{ "x"|ljust:4000000 }}' * 3))
    with pytest.raises(LimitError, match=r"^hosts\.tpl:1:8: the template builds more than"):
        template.render({})


LOOP = "{% for a in 'x'|ljust:2000 %}"
REACHED = {
    "the loop that goes on": (
        "a\n" + LOOP + "\n{% for b in 'x'|ljust:2000 %}.{% endfor %}{% endfor %}",
        "3:13",
    ),
    "the outer one": (LOOP + "{% for b in 'x'|ljust:3 %}{% endfor %}" + "x" * 5000 + "{% endfor %}", "1:13"),
    "a call too many": ("{% macro f(n) %}\n {{ f(n) }}{% endmacro %}{{ f(1) }}", "2:5"),
    "a filter": ("text\n{{ 'x'|ljust:4000000|make_list }}", "2:22"),
    "a filter's output": ("{% set s = 'x' %}\n" + LOOP + "{% set s = s|add:s %}{% endfor %}", "2:43"),
    "all that is printed": (
        "a\n{{ 'x'|ljust:4000000 }}{{ 'x'|ljust:4000000 }}{{ 'x'|ljust:4000000 }}",
        "1:1",
    ),
}


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
@pytest.mark.parametrize("what", REACHED)
def test_a_limit_error_has_the_position_of_its_cause(what, dialect):
    text, place = REACHED[what]
    limits = Limits(steps=100_000, values=20 << 20)
    template = pongo2.compile(Source("hosts.tpl", text), dialect, limits=limits)
    with pytest.raises(LimitError) as raised:
        template.render({})
    assert raised.value.span.place == f"hosts.tpl:{place}"


def test_limit_errors_in_included_templates_have_their_position_there():
    parts = {"inner.tpl": "\n" + LOOP + LOOP + "{% endfor %}{% endfor %}"}

    class Parts:
        def read(self, name):
            return parts[name]

    template = pongo2.compile(Source("outer.tpl", "{% include 'inner.tpl' %}"), mode="plain", loader=Parts(),
                              limits=Limits(steps=100_000))  # fmt: skip
    with pytest.raises(LimitError) as raised:
        template.render({})
    assert raised.value.span.place.startswith("inner.tpl:2:")


@pytest.mark.parametrize("context", [{"a-b": 1}, {"": 1}, {"é": 1}, {"a b": 1}])
def test_context_names_must_be_valid_identifiers(context):
    with pytest.raises(RenderError, match="is not a valid identifier") as raised:
        pongo2.compile("x").render(context)
    assert raised.value.pongo2_error.startswith("[Error (where: checkForValidIdentifiers)] context-key '")


def test_variable_names_may_begin_with_a_digit_or_an_underscore():
    assert pongo2.compile("{{ 1abc }}{{ _ }}{{ __x }}").render({"1abc": 1, "_": 2, "__x": 3}) == "123"


def test_every_dialect_can_print_its_pongo2_version():
    versions = [pongo2.compile("{{ pongo2.version }}", d, mode="plain").render({}) for d in DIALECTS.values()]
    assert versions == ["4.0.2", "6.0.0", "6.1.0"]


def test_trim_blocks_and_lstrip_blocks_remove_white_space_around_tags():
    source = "a\n  {% if 1 %}\nb\n{% endif %}\nc"
    assert pongo2.compile(source, mode="plain").render({}) == "a\n  \nb\n\nc"
    assert pongo2.compile(source, mode="plain", trim_blocks=True).render({}) == "a\n  b\nc"
    assert pongo2.compile(source, mode="plain", trim_blocks=True, lstrip_blocks=True).render({}) == "a\nb\nc"


def test_the_code_generator_uses_jinja2_environment_settings_except_for_autoescape():
    from templater.pongo2.codegen.generator_state import SETTINGS

    assert SETTINGS.autoescape is False
    assert SETTINGS.block_start_string == "{%"
    with pytest.raises(AttributeError):
        _ = SETTINGS.nonsense


@pytest.mark.parametrize(
    ("text", "half"), [("\ud800", "\ud800"), ("é{{ x }}\udfff", "\udfff"), ("{# \udbff #}", "\udbff")]
)
def test_a_lone_surrogate_in_a_template_is_an_input_error(text, half):
    with pytest.raises(InputError, match="contains a lone surrogate") as caught:
        pongo2.compile(text)
    assert caught.value.span is not None
    assert caught.value.span.text == half


@pytest.mark.parametrize("text", ["{{ x }}", "{{ x|upper }}", "{% for c in x %}{{ c }}{% endfor %}"])
def test_a_lone_surrogate_in_the_context_is_an_input_error(text):
    with pytest.raises(InputError, match=r"^a text of the context contains a lone surrogate$"):
        pongo2.compile(text).render({"x": "\ud800"})


def test_random_numbers_depend_on_fractional_seconds_without_a_seed():
    template = pongo2.compile("{% for x in l %}{{ l|random }}{% endfor %}", mode="plain")
    texts = [template.render({"l": "abcdefghij"}, clock=clock) for clock in (1, 1.25, 1.25, 1.5)]
    assert texts[1] == texts[2]
    assert len(set(texts)) == 3


def test_the_variable_names_of_a_template_can_be_listed_repeatedly():
    template = pongo2.compile("{{ a }}")
    assert all([read.path for read in template.reads] == [("a",)] for _ in range(150))
