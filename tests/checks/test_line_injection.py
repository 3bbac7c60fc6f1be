"""Configuration values that can add lines to a rendered file."""

import itertools

import pytest

from templater.checks.security import line_injection, secrets
from templater.checks.security.line_injection import SAFE
from templater.model.source import Source
from templater.pongo2.dialect import DIALECTS
from tests.checks.builders import advisories, an_image, observed, severities
from tests.differential.compare import ours, theirs
from tests.differential.oracle import real_pongo2
from tests.processor_time import ends_within

CHECK = "line-injection"
#: arguments of filters
ARGUMENTS = {
    "divisibleby": (2,), "floatformat": (0, 2), "length_is": (3,), "truncatewords": (0, 1, 2, 99),
    "yesno": ('"a,b"', '"a,b,c"'),
}  # fmt: skip
FILTERS = [(name, argument) for name in sorted(SAFE) for argument in ARGUMENTS.get(name, (None,))]
FILTERS += [("stringformat", '"%q"')]
VALUES = ("", "\n", "web1\n", "web1\nevil", "\n\na b\n\n\n c\n", "1\n2", "a\r\nb\r\n")
FIRST_LINE = '{{ x|linebreaksbr|split:"<br />"|first }}'


def requests(template: str, dialect: str = "v4") -> list[dict]:
    return [
        {"template": template, "context": {"x": value}, "mode": "plain", "dialect": dialect, "options": {}}
        for value in VALUES
    ]


def expression(name: str, argument: object) -> str:
    return "{{ x|" + name + ("" if argument is None else f":{argument}") + " }}"


@pytest.fixture(scope="module")
def oracle():
    with real_pongo2() as running:
        yield running


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("name", "argument"), FILTERS)
def test_accepted_filters_write_no_line_break(name, argument, dialect):
    for request in requests(expression(name, argument), dialect):
        assert b"\n" not in ours(request)["output"]


@pytest.mark.parametrize(("name", "argument"), FILTERS)
def test_accepted_filters_write_no_line_break_in_pongo2(name, argument, oracle):
    for answer in oracle.ask(requests(expression(name, argument))):
        assert b"\n" not in theirs(answer)["output"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_hint_suggests_filters_that_keep_only_the_first_line(dialect, oracle):
    answers = [theirs(answer)["output"] for answer in oracle.ask(requests(FIRST_LINE))]
    assert answers == [ours(request)["output"] for request in requests(FIRST_LINE, dialect)]
    assert answers == [value.partition("\n")[0].encode() for value in VALUES]


@pytest.mark.parametrize(
    "text",
    [
        'name = {{ config_get("user.a", "") }}\n',
        "x {{ config.a|addslashes }}",
        'a: {{ config["user.b"] }}',
        '{% set x = config_get("user.a", "") %}\na {{ x }}',
        '{% with x=config_get("user.a", "")|upper %}\na {{ x }}{% endwith %}',
        "{% with config.a as x %}\na {{ x }}{% endwith %}",
        "a {% firstof 1 config.x %}",
        'a {% cycle config_get("user.a") "b" %}',
        "{% for k, v in config %}\na {{ v }}{% endfor %}",
        "a {{ config_get('user.a', 'b'|length) }}",
        "a {{ 1|integer + config.b }}",
        "a {{ config.a|integer|add:config.b }}",
        "{% macro m(x) %}\na {{ x }}{% endmacro %}",
        "{% set x = config.a %}{% set y = x %}\na {{ y }}",
        "a\n{{- config.a }}",
        "a \n\n {%- if 1 %}{{ config.a }}{% endif %}",
        "{% if 1 -%}\n a {{ config.a }}{% endif %}",
        "a {% if 1 -%}\n{{ config.a }}{% endif %}",
        "{% macro m() %}{{ config.a }}{% endmacro %}a {{ m() }}",
        "{% macro m(k) %}{{ config_get(k) }}{% endmacro %}a {{ m('user.a') }}",
        "{% macro m(k=config.a) %}{{ k }}{% endmacro %}a {{ m() }}",
        "{% macro m() %}{{ config.a }}{% endmacro %}{% macro n() %}{{ m() }}{% endmacro %}a {{ n() }}",
        "a {% macro m() %}\n{% endmacro %}{{ config.a }}",
        "a {% comment %}\n{% endcomment %}{{ config.a }}",
        "a {% comment %}{% 'endcomment' %}\n{% endcomment %}{{ config.a }}",
        "{% macro n() %}a {{ m() }}{% endmacro %}{% macro m() %}{{ config.a }}{% endmacro %}{{ n() }}",
        "a {% comment %}\n{{ x }}{% endif %}\n{% endcomment %}{{ config.a }}",
        "a {% if 0 %}\n{% endif %}{{ config.a }}",
        "a {% if 0 %}\n{% elif 1 %}{{ config.a }}{% else %}\n{% endif %}",
        "a {% ifequal 1 2 %}\n{% else %}{% endifequal %}{{ config.a }}",
        "a {% for i in '' %}\n{% empty %}{{ config.a }}{% endfor %}",
        "{% for i in 'ab' %}{{ config.a }}a {% endfor %}",
        "{% for i in 'ab' %}{{ config.a }}a {% empty %}\n{% endfor %}",
        "{% for i in 'a' %}\n{% for j in 'ab' %}{{ config.a }}a {% endfor %}\n{% endfor %}",
        "{% for i in 'ab' %}a {{ x }}\n{% set x = config.a %}{% endfor %}",
        "{% now '2006' %}{{ config.a }}",
        "{{ 'a=' + config.a }}",
        "{{ properties.x + (config.a|upper) }}",
        "{{ config.a + config.b }}",
        "{{ 'a='|add:config.a }}",
        "{{ 'a' + '' + config.a }}",
        "{{ config.a|stringformat:'a=%s' }}",
        "{{ 'ab'|join:config.a }}",
        "{{ ('ab'|join:config.a)|upper }}",
        "{% set x = config.a %}{{ 'ab'|join:x }}",
        "{% set x = 'ab'|join:config.a %}{{ x }}",
        "{% firstof 'ab'|join:config.a %}",
        "{% macro m(x) %}{{ 'ab'|join:x }}{% endmacro %}{{ m(config.a) }}",
        "{% macro m() %}{{ 1|yesno:config.a|integer }}{% endmacro %}{{ m() }}",
        "{{ config.a|stringformat:'%%a%s' }}",
        "{{ config.a|stringformat:x }}",
        "{{ config.a|default:'a=' + config.b }}",
        "{{ config_get('user.a', 'a=' + config.b) }}",
        "{% firstof '' 'a=' + config.a %}",
        "{% cycle 'a=' + config.a %}",
        "{% set x = 'a=' + config.a %}{{ x }}",
        "{% set x = config.a %}{% set x = 'a=' + x %}{% set y = x %}{{ y }}",
        "{% with x='a=' + config.a %}{{ x }}{% endwith %}",
        "{% macro m(x) %}{{ x }}{% endmacro %}{{ m('a=' + config.a) }}",
        "{% macro m(x) %}{{ 'a=' + x }}{% endmacro %}{{ m(config.a) }}",
        "{% macro m(x) %}{% set y = 'a=' + x %}{{ y }}{% endmacro %}{{ m(config.a) }}",
        "{% filter stringformat:'a=%s' %}{{ config.a }}{% endfilter %}",
        "a={% filter default:config_get('user.a', '') %}{% endfilter %}",
        "{% filter add:config_get('user.a', '') %}a={% endfilter %}",
        "{% filter default:'b'|add:config.a %}a={% endfilter %}",
        "{% set x = config.a %}a={% filter default:x %}{% endfilter %}",
        "{% filter default:config.a|integer|default:'a=' + config.b %}{% endfilter %}",
        "a={% filter upper %}{{ config.a }}{% endfilter %}",
        "{% filter default:config.b|integer %}{% endfilter %}{% filter default:config.b %}a={{ config.a }}{% endfilter %}",
    ],
)
def test_attack_49_a_configuration_value_inside_a_line_of_a_file_is_found(text):
    image = an_image(templates={"t": text})
    assert severities(CHECK, image) == ["info"]
    assert advisories(CHECK, image) == {"CVE-2026-23953"}


@pytest.mark.parametrize(
    "text",
    [
        '{{ config_get("user.user-data", properties.default) }}\n',
        '{% if x %}{{ config_get("user.a", "") }}{% endif %}',
        'port = {{ config_get("user.port", "80")|integer }}',
        'name = {{ config_get("user.a", "")|linebreaksbr }}',
        'name = {{ config_get("user.a", "")|stringformat:"%q" }}',
        "name = {{ container.name }}",
        "a {{ x.config }}",
        'a {{ config_get("a", config_get("b"))|integer }}',
        'a {{ config.a|add:"b"|integer }}',
        "{% set x = config.a|integer %}a {{ x }}",
        "{% if config.a %}a {{ x }}{% endif %}",
        '{% include "t" with x=1 %}{{ config.a',
        "a {{ config.a|integer: }}",
        "a {{ config.a|integer.",
        "a\n{{- 1 }}\n{{ config.a }}",
        "a\n{{ config.a -}}",
        "{% macro m() %}{{ config.a|integer }}{% endmacro %}a {{ m() }}",
        "{% macro m(x) %}{{ x }}{% endmacro %}a {{ m('b') }}",
        "{% macro m() %}b\n{{ config.a }}{% endmacro %}{{ m() }}",
        "a {% comment %}{{ config.a }}{% endcomment %}",
        "{% comment %}a{% endcomment %}{{ config.a }}",
        "a {% if 1 %}\n{% else %}b\n{% endif %}{{ config.a }}",
        "{% if 1 %}{{ config.a }}{% else %}{{ config.b }}{% endif %}",
        "{% for i in 'ab' %}{{ config.a }}\n{% endfor %}",
        "{% for i in 'ab' %}a\n{% if i %}{{ config.a }}a{% endif %}\n{% endfor %}",
        "{{ config.a + 'b' }}",
        "{{ config.a|add:'b' }}",
        "{{ '' + config.a }}",
        "{{ ' '|add:config.a }}",
        "{{ config.a|stringformat:'%s' }}",
        "{{ config.a|stringformat }}",
        "{{ config.a|default:config.b }}",
        "{{ config.a|default_if_none:config_get('user.b', config.c) }}",
        "{{ config.a|join:', ' }}",
        "{{ 'ab'|join:properties.x|default:config.a }}",
        "{% macro m(x) %}{% if config.a %}b{% endif %}{% endmacro %}{{ m(1) }}",
        "{{ 'a=' + config.a|integer }}",
        "{{ config_get('a' + 'b', '') }}",
        "{% set x = 'a=' + properties.b %}{{ x }}",
        "{{ 'a=' + x.config }}",
        "{% filter stringformat:'%s' %}{{ config.a }}{% endfilter %}",
        "{% filter upper %}{{ config.a }}{% endfilter %}",
        "{% filter default:config.a %}{% endfilter %}\na\n",
        "{% filter default_if_none:config.a|default:'a' %}{% endfilter %}",
        "a={% filter default:config.a|integer %}{% endfilter %}",
        "a={% filter default:'b' %}\n{% endfilter %}{{ config.b }}",
        "a={% widthratio config.a 1 1 %}{% widthratio config.a 1 1 as x %}{{ x }}",
    ],
)
def test_value_that_cannot_add_inner_lines_has_no_finding(text):
    assert not observed(CHECK, an_image(templates={"t": text}))


@pytest.mark.slow  # three thousand templates
def test_an_audit_continues_if_a_template_does_not_compile():
    """A filter without a name ended the whole audit."""
    tokens = (
        "config.x",
        "config",
        "|",
        ":",
        "integer",
        "(",
        ")",
        "[",
        "]",
        ".",
        "=",
        "as",
        "in",
        '"secret"',
        ",",
    )
    shapes = (
        "a {{{{ {} }}}}",
        "a {{% {} %}}",
        "a {{% firstof {} %}}",
        "a {{% set {} %}}",
        "a {{% for {} %}}",
    )
    for words in itertools.product(tokens, repeat=3):
        text = "".join(shape.format(" ".join(words)) for shape in shapes)
        list(line_injection.check_image.run(an_image(templates={"t": text})))
        list(secrets.secrets_of(Source("t", text.encode())))


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "config|a:f(" * 60_000,
        "config|a:f(" * 60_000 + "1" + ")" * 60_000,
        "1 }}{% macro m(a) %}{{ " + "config|yesno:a(" * 40_000 + "1" + ")" * 40_000,
        "devices|a:devices.b.c[devices]" + "|a:devices.b.c[devices]" * 20_000,
        "1 }}" + "{% for a, b in devices %}{% for c, d in b %}{{ d|join:c }}" * 3_000,
        "1 }}"
        + "".join(f"{{% set x{n} = x{n - 1}.Sorted %}}" for n in range(9_000))
        + "{% set x0 = devices %}",
        "config" + "|a:config.x" * 60_000 + "|integer",
        "[" * 300_000,
        "config." * 100_000,
        "config, " * 6_000,
        "1 }}" + "{% for i in config %}{{ i }}a {% set i = config %}" * 600 + "{% endfor %}" * 600,
        "1 }}" + "{% macro m(a) %}{{ a }}{{ config }}" * 900 + "{% endmacro %}" * 900,
        "1 }}" + "{% if 1 %}{% elif 2 %}" * 1_500 + "{% endif %}" * 1_500,
        "1 }}" + "".join(f"{{% set x{n} = config|stringformat:x{n} %}}" for n in range(1_900)),
        "1 }}" + "".join(f"{{% set x{n} = 'a' + config.a + x{n - 1} %}}" for n in range(20_000)),
        "'a=' + " * 60_000 + "config.a",
        "1 }}{% with " + " ".join(f"x{n}=config" for n in range(20_000)) + " %}{% endwith %}",
        "1 }}{% for k in config %}"
        + "{% set z = k %}{% set k = z %}{{ config_get(z + k) }}" * 6_000
        + "{% endfor %}",
        "config_get(" * 60_000,
        "1 }}"
        + "".join(f"{{% set x{n} = x{n + 1} %}}" for n in range(9_000))
        + "{% set x9000 = config.token %}",
    ],
)
def test_the_line_injection_and_secret_checks_take_linear_time(text):
    image = an_image(templates={"t": f"a {{{{ {text} }}}}"})
    with ends_within(4):
        list(line_injection.check_image.run(image))
        list(secrets.secrets_of(Source("t", f"a {{{{ {text} }}}}".encode())))
