"""Values that can add lines."""

import itertools
from time import process_time

import pytest

from templater.checks.security import line_injection, secrets
from templater.checks.security.line_injection import SAFE
from templater.model.source import Source
from templater.pongo2.dialect import DIALECTS
from tests.checks.builders import advisories, an_image, observed, severities
from tests.differential.compare import ours, theirs
from tests.differential.oracle import real_pongo2

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
def test_a_filter_writes_no_line_break_if_the_line_injection_check_accepts_it(name, argument, dialect):
    for request in requests(expression(name, argument), dialect):
        assert b"\n" not in ours(request)["output"]


@pytest.mark.parametrize(("name", "argument"), FILTERS)
def test_a_filter_writes_no_line_break_if_the_line_injection_check_accepts_it_in_pongo2(
    name, argument, oracle
):
    for answer in oracle.ask(requests(expression(name, argument))):
        assert b"\n" not in theirs(answer)["output"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_filters_in_the_line_injection_hint_keep_only_the_first_line_in_templater_and_pongo2(
    dialect, oracle
):
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
    ],
)
def test_a_value_that_cannot_add_a_line_inside_a_file_has_no_finding(text):
    assert not observed(CHECK, an_image(templates={"t": text}))


def test_audit_checks_a_template_that_does_not_compile():
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
        "config" + "|a:config.x" * 60_000 + "|integer",
        "[" * 300_000,
        "config." * 100_000,
    ],
)
def test_the_line_injection_check_takes_linear_time(text):
    image = an_image(templates={"t": f"a {{{{ {text} }}}}"})
    begun = process_time()
    list(line_injection.check_image.run(image))
    assert process_time() - begun < 4
