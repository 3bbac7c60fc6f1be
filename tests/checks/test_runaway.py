"""Templates that may never end, fill the memory or make a daemon panic."""

import json
import re
from pathlib import Path

import pytest

from templater.checks import scanned_image
from templater.checks.cost_bound import MOST_HELD, MOST_WORK, bound
from templater.checks.filter_cost_bounds import NoBoundError
from templater.checks.finding import Severity
from templater.checks.run_checks import audit
from templater.checks.security import runaway
from templater.cli.run_command_line import main
from templater.model.entry import FILE, Entry, TemplateFile
from templater.model.errors import LimitError
from templater.model.source import Source
from templater.pongo2.dialect import V6
from templater.pongo2.parse_with_includes import Compilation
from templater.pongo2.render_state import Limits
from tests.checks.builders import advisories, an_image, observed, rules, severities
from tests.sampling import some_fast

pytestmark = pytest.mark.usefixtures("_patience")

CHECK = "runaway"
U = "config_get('user.user-data', '')"
QCOW2 = b"QFI\xfb" + bytes(124)
RULE = rules("/etc/a: {when: [create], template: t}")


@pytest.fixture
def _patience(monkeypatch):
    """Let the limits on time be longer than any template here needs on a slow machine."""
    monkeypatch.setattr(runaway, "LIMITS", Limits(seconds=100.0, total=200.0))
    monkeypatch.setattr(scanned_image, "ALL_SECONDS", 300.0)
    monkeypatch.setattr(scanned_image, "MAX_SECONDS", 100.0)


@pytest.mark.parametrize(
    "text",
    [
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% lorem 100000000 w %}",
        '{{ "x"|ljust:2000000000 }}',
    ],
)
def test_attack_40_41_42_an_endless_template_gives_one_finding(text):
    assert severities(CHECK, an_image(RULE, {"t": text})) == ["high"]


@pytest.mark.parametrize(
    "text",
    [
        '{% set n = instance.name|length %}{% set w = (n - 2) * (63 - n) * 99999999 %}{{ "x"|ljust:w }}',
        '{% set n = devices|length %}{% set w = (n - 2) * n * 99999999 %}{{ "x"|center:w }}',
        '{% set w = config_get("security.nesting", "")|yesno:"9999999999,1,1"|integer %}{{ "x"|rjust:w }}',
        '{% set w = config_get("user.a", "")|length * 0 %}{% filter ljust:w %}{% endfilter %}',
        '{% macro m() %}{% now "2006" %}{% endmacro %}{% set w = (m()|integer - 2006) * 0 %}{{ 1|floatformat:w }}',
        '{% set w = "0000000000000000000000000000000000000000000"|random|integer %}{{ "x"|ljust:w|ljust:w }}',
        '{{ "x"|ljust:config.n }}',
    ],
)
def test_filter_with_computed_length_gives_one_medium_finding(text):
    """The instance, the time or chance can choose a length that no render of the check tries."""
    assert severities(CHECK, an_image(RULE, {"t": text})) == ["medium"]


@pytest.mark.parametrize(
    "text", ["{{ 'x'|ljust:20|center:'9'|rjust }}{{ 1|floatformat }}{{ 1|floatformat:2 }}", "ljust:n"]
)
def test_a_text_of_constant_size_gives_no_finding(text):
    assert severities(CHECK, an_image(RULE, {"t": text})) == []


WIDER = '{{ "x"|ljust:9999999999 }}'
GROWING = "{% set s = s|add:s %}" * 40


@pytest.mark.parametrize(
    "text",
    [
        "{% for n, d in devices %}" + WIDER + "{% endfor %}",
        "{% for d in devices.Sorted %}{% lorem 999999999 w %}{% endfor %}",
        "{% for k, v in config %}" + WIDER + "{% endfor %}",
        "{% for i in instance.name|slice:'2:' %}{% lorem 999999999 w %}{% endfor %}",
        "{% set s = devices.root.pool %}" + GROWING,
        "{% set s = devices.root.path %}" + GROWING,
        "{% set s = config_get('volatile.base_image', '') %}" + GROWING,
        "{% set s = config_get('image.os', '') %}" + GROWING,
        "{% set s = instance.name|slice:'2:' %}" + GROWING,
        "{{ instance.name|length > 2 and 'x'|ljust:9999999999 }}",
        "{% set n = instance.name|length ^ 12 %}{{ 'x'|ljust:n }}",
    ],
)
def test_template_endless_for_ordinary_instances_gives_one_finding(text):
    image = an_image(f"{RULE}properties: {{os: Debian}}\n", {"t": text})
    assert severities(CHECK, image) == ["high"]


@pytest.mark.parametrize(
    "text",
    [
        "{% for c in config_get('user.a', '') %}" + WIDER + "{% endfor %}",
        "{% for c in instance.name %}{% empty %}" + WIDER + "{% endfor %}",
        "{{ config_get('user.a', '') and 'x'|ljust:9999999999 }}",
        "{{ trigger or 'x'|ljust:9999999999 }}",
        "{% if config_get('user.a', '') and 'x'|ljust:9999999999 %}{% endif %}",
        "{% ifchanged trigger %}{% else %}" + WIDER + "{% endifchanged %}",
    ],
)
def test_a_possibly_endless_template_gives_a_medium_severity_finding(text):
    assert severities(CHECK, an_image(RULE, {"t": text})) == ["medium"]


X = "config_get('user.x', '')"
IN_MACRO = "{% macro m(s) %}" + GROWING + "{{ s }}{% endmacro %}{{ m(" + X + ") }}"
SPLIT = "{% set s = s|split:','|join:', ,' %}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    some_fast(
        [
            "{% set s = " + X + " %}" + GROWING,
            "{% set k = 'user.'|add:'x' %}{% set s = config_get(k, '') %}" + GROWING,
            IN_MACRO,
            "{% with s=" + X + " %}" + GROWING + "{{ s }}{% endwith %}",
            "{% set s = " + X + " %}{% for i in '" + 40 * "a" + "' %}{% set s = s|add:s %}{% endfor %}",
            "{% if config_get('user.y', '') == 'z' %}{% set s = " + X + " %}" + GROWING + "{% endif %}",
            "{% set s = config.x %}" + GROWING,
            "{% set s = config['user.x'] %}" + GROWING,
            "{% set s = devices.eth9.name %}" + GROWING,
            "{% set s = devices.eth0['user.x'] %}" + GROWING,
            "{% for n, d in devices %}{% set s = d.mtu %}" + GROWING + "{% endfor %}",
            "{% for d in devices.Sorted %}{% set s = d.Config.mtu %}" + GROWING + "{% endfor %}",
            "{% set s = " + X + " %}" + SPLIT * 40,
            "{% set s = " + X + " %}" + "{% set s = s|join:s %}" * 9,
        ],
        every=4,
    ),
)
def test_text_made_too_large_by_key_has_medium_severity(text):
    image = an_image(RULE, {"t": text})
    assert severities(CHECK, image) == ["medium"]
    assert observed(CHECK, image)[0][-1].startswith("if certain keys are set, ")


def test_panic_that_requires_a_key_has_medium_severity():
    image = an_image(RULE, {"t": "{% for c in config_get('user.x', '') %}{{ 1 in config }}{% endfor %}"})
    assert severities(CHECK, image) == ["medium"]


@pytest.mark.parametrize(
    "text",
    [
        "{{ " + X + "|upper }}{{ config.x }}{{ config }}{{ devices }}{{ devices.Sorted }}{{ devices.a.b }}",
        "{% for n, d in devices %}{{ d.mtu|add:d.mtu }}{{ d.Clone.type }}{% endfor %}{{ devices.Clone.a.b }}",
        "{% set s = "
        + X
        + " %}{% for line in s|split:',' %}{% for c in line %}{{ c }}{% endfor %}{% endfor %}",
    ],
)
def test_an_ordinary_use_of_the_values_of_keys_gives_no_finding(text):
    assert severities(CHECK, an_image(RULE, {"t": text})) == []


@pytest.mark.parametrize(
    "text",
    [
        "{{ 1 % 0 }}",
        "{{ 1 / 0 }}",
        "{% set n = instance.name|length - 2 %}{{ 5 % n }}",
        "{% for n, d in devices %}{{ 1 % 0 }}{% endfor %}",
        "{{ devices.root and 1 % 0 }}",
        "{{ 'a'|removetags:'(' }}",
        "{{ 1 in config }}",
        "{{ config == config }}",
        "{% for x in instance.name sorted %}{% endfor %}",
        "{% for i in 'aa' %}{% ifchanged 1 %}x{% endifchanged %}{% endfor %}",
    ],
)
@pytest.mark.parametrize(("heads", "severity"), [({}, "medium"), ({"rootfs.img": QCOW2}, "high")])
def test_a_template_gives_a_finding_if_it_makes_a_daemon_panic(text, heads, severity):
    image = an_image(RULE, {"t": text}, heads=heads)
    assert severities(CHECK, image) == [severity]
    assert observed(CHECK, image)[0][-1].startswith("the template makes a daemon panic: ")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{% if config_get('user.a', '') %}{{ 1 % 0 }}{% endif %}", 1),
        ("{% if config_get('user.a', '') %}{{ 1 / config.n }}{% endif %}", 1),
        ("{% if config_get('user.a', '') %}{{ 'a'|removetags:'(' }}{% endif %}", 1),
        ("{% if config_get('user.a', '') %}{{ 'a'|removetags:config.n }}{% endif %}", 1),
        ("{{ 7 / 2 }}{{ 7 % 3 }}{{ 1 / 2.5 }}{{ 'a'|removetags:'b,i' }}", 0),
        ("{% set n = instance.name|length %}{{ 'ab'|slice:n }}", 1),
        ("{{ 'ab'|slice:':3' }}{{ 'ab'|slice:'1:' }}", 0),
        ("{{ 'ab'|truncatechars:config.n }}", 1),
        ("{{ 'ab'|truncatechars:1 }}", 0),
        ("{{ config_get('user.text', '')|wordwrap:3 }}", 1),
        ("{{ config_get('user.text', '')|wordwrap:2 }}", 0),
        ("{{ devices.Sorted.Less(0, 1) }}", 1),
        ("{% set z = " + U + "|slice:'26:'|make_list|default:'x' %}{% if z == z %}{% endif %}", 1),
        ("{% set z = " + U + "|slice:'26:'|default:devices.root %}{% if z != z %}{% endif %}", 1),
        ("{% set m = instance %}{% if " + U + "|length|default:'x' in m %}{% endif %}", 1),
        ("{% cycle 'a' as s silent %}{% set z = x|default:s %}{{ z.value }}", 1),
        (
            "{% for a in "
            + U
            + "|slice:'26:' %}{% if z == z %}{% endif %}{% set z = a|make_list %}{% endfor %}",
            1,
        ),
        ("{% for n, d in devices %}{% ifchanged d %}x{% else %}y{% endifchanged %}{% endfor %}", 1),
        ("{% set z = x|default:pongo2 %}{% if z == z %}{% endif %}", 1),
        ("{% if " + U + "|length in pongo2 %}{% endif %}", 1),
        ("{% if 1 in x|default:config %}{% endif %}", 1),
        ("{% set e = " + U + "|slice:'26:' == '' %}{% set z = e|default:nosuch %}{{ config[z] }}", 1),
        ("{% set z = " + U + "|slice:'26:'|length|default:'x' %}{{ z['a'] }}", 1),
        ("{% macro m(k) %}{{ config[k] }}{% endmacro %}{{ m('user.a') }}{{ config['user.' + x] }}", 0),
        (
            "{% for k, d in devices %}{{ d['type'] }}{{ devices[k]['type'] }}{% endfor %}{% for k in config %}{{ config[k] }}{% endfor %}",
            0,
        ),
        (
            "{% set k = properties.key|default:'a' %}{{ properties[k] }}{% set kv = x|split:'=' %}{{ kv[0] }}",
            0,
        ),
        ("{% cycle 'a' as s silent %}{% set z = x|default:s %}{{ z.node }}", 1),
        ("{% macro m(a) %}{% if a == a %}{% endif %}{% endmacro %}{{ m(config) }}", 1),
        ("{% for n, d in devices %}{% if n == d.name or d.type == 'nic' %}{% endif %}{% endfor %}", 0),
        ("{% if instance.name in " + U + "|split:',' %}{% endif %}{% if trigger == path %}{% endif %}", 0),
        (
            "{% for a in "
            + U
            + "|split:',' %}{% if a == instance.name %}{% endif %}{% ifchanged a %}{% else %}{% endifchanged %}{% endfor %}",
            0,
        ),
        ("{% if instance.name == 'web' %}{% set q = 1 %}{% endif %}{% set q = 'a' %}{{ q in config }}", 1),
        ("{{ q|length in devices.eth0 }}{{ q in devices.eth0 }}", 1),
        ("{{ 'user.a' in config }}{{ q in 'abc' }}{{ q in properties.os }}", 0),
        ("{% if config.a %}{% set forloop = 1 %}{% endif %}{% for a in 'b' %}{% endfor %}", 1),
        ("{% if config.a %}{% set forloop = 1 %}{% endif %}", 0),
        ("{% for a in 'b' %}{{ forloop.Counter }}{% endfor %}", 0),
    ],
)
def test_expression_that_panics_for_some_values_gives_a_finding(text, found):
    assert severities(CHECK, an_image(RULE, {"t": text})) == ["medium"] * found


@pytest.mark.parametrize("condition", ["config_get('user.a', '')", "instance.name|length > 99"])
@pytest.mark.parametrize(
    "text",
    some_fast(
        [
            "{{ 1 in config }}",
            "{{ config == config }}",
            "{{ devices != devices }}",
            "{% for x in instance.name sorted %}{% endfor %}",
            "{% for k, v in config reversed sorted %}{% for x in v sorted %}{% endfor %}{% endfor %}",
            "{% for i in 'aa' %}{% ifchanged 1 %}x{% endifchanged %}{% endfor %}",
            "{{ config[nope] }}",
            "{% set n = 1 %}{{ n[0] }}",
            "{% cycle %}",
            "{{ 'ab'|slice:'-1:' }}",
            "{{ 'ab'|truncatechars:'-1' }}",
            "{% macro m(c) %}{{ 1 in c }}{% endmacro %}{{ m(config) }}",
            "{% set c = config %}{% filter upper %}{{ 1 in c }}{% endfilter %}",
            "{% firstof instance.name 1 in config %}",
            "{% with a=1 in config %}{% endwith %}",
        ],
        every=4,
    ),
)
def test_a_panic_inside_an_if_block_gives_a_finding(text, condition):
    image = an_image(RULE, {"t": "{% if " + condition + " %}" + text + "{% endif %}"})
    assert severities(CHECK, image) == ["medium"]
    assert observed(CHECK, image)[0][-1].startswith(
        "if certain conditions are true, the template makes a daemon panic: "
    )


@pytest.mark.parametrize(
    "text",
    [
        "{% if a %}{% for k in config_get('user.keys', '')|split:',' %}{{ config[k] }}{% endfor %}{% endif %}",
        "{% for k in properties.keys %}{{ config[k] }}{% endfor %}",
        "{% for i in 'aa' %}{% ifchanged %}x{% endifchanged %}{% endfor %}{% if 'a' in config %}b{% endif %}",
        "{% if 'b' == properties.b or properties.a != config.a %}c{% endif %}",
        "{% for n, d in devices sorted %}{% if d.type == 'nic' %}{{ n }}{% endif %}{% endfor %}",
    ],
)
def test_conditions_and_loops_have_no_finding_if_they_cannot_panic(text):
    assert not observed(CHECK, an_image(RULE, {"t": text}))


def test_panic_in_if_block_does_not_hide_later_findings():
    text = "{% if config.a %}{{ 1 in config }}{% endif %}" + IF_LONG
    assert "characters" in observed(CHECK, an_image(RULE, {"t": text}))[0][-1]


IF_LONG = "{% if config_get('user.a', '') %}" + WIDER + "{% endif %}"


@pytest.mark.parametrize(
    "text",
    [
        "{% macro m() %}{{ 'a'|pluralize:'x,y' }}{% endmacro %}{{ m() }}" + WIDER,
        "{% macro m() %}x{% endmacro %}{{ m(1, 2) }}" + WIDER,
        "{% for a in 'ab' %}{% ifchanged %}x{% else %}" + WIDER + "{% endifchanged %}{% endfor %}",
    ],
)
def test_template_endless_on_one_daemon_release_gives_a_finding(text):
    assert len(severities(CHECK, an_image(RULE, {"t": text}))) == 1


@pytest.mark.parametrize(
    "failing",
    [
        "{{ 1 % 0 }}",
        "{{ 'a'|pluralize:'x,y' }}",
        "{{ instance.name.nothing.more }}",
        "{{ 1 % 0 or 1 }}",
        "{% set a = 1 % 0 %}",
        "{% with a=1%0 %}x{% endwith %}",
        "{% for a in 1 % 0 %}x{% endfor %}",
        "{% for a in instance.name sorted %}x{% endfor %}",
        "{% set forloop = 1 %}{% for a in 'b' %}x{% endfor %}",
        "{% for forloop in 'b' %}{% for a in 'b' %}x{% endfor %}{% endfor %}",
        "{% cycle 1 as forloop %}{% for a in 'b' %}x{% endfor %}",
        "{% if 1 % 0 %}x{% endif %}",
        "{% ifequal 1 1 % 0 %}x{% endifequal %}",
        "{% ifchanged 1 % 0 %}x{% else %}y{% endifchanged %}",
        "{% filter pluralize:'x,y' %}a{% endfilter %}",
        "{% filter ljust:config %}a{% endfilter %}",
        "{% firstof 1 % 0 %}",
        "{% cycle 1 % 0 %}",
        "{% widthratio 1 % 0 2 3 %}",
        "{% macro m(a=1%0) %}{{ 1 % 0 }}{% endmacro %}{{ m() }}{{ m(1, 2) }}",
    ],
)
def test_error_in_unreachable_branch_does_not_hide_other_findings(failing):
    text = "{% if 0 %}" + failing + "{% endif %}" + IF_LONG
    assert severities(CHECK, an_image(RULE, {"t": text})) == ["medium"]


@pytest.mark.parametrize(
    "text",
    [
        "{% firstof instance.name 'x'|ljust:9999999999 %}",
        "{% cycle 1 'x'|ljust:9999999999 %}",
        "{% if 0 %}{% filter ljust:9999999999 %}x{% endfilter %}{% endif %}",
        "{% if 0 %}{% filter upper %}{% if 1 %}" + WIDER + "{% endif %}{% endfilter %}{% endif %}",
        "{% if 0 %}{{ 1 % 0 }}{% endif %}{% if x %}{% set w=99999 %}{% set s='x'|ljust:w %}"
        "{% for i in s %}{% for j in s %}x{% endfor %}{% endfor %}{% endif %}",
        "{% macro m(w=9999999999) %}{{ 'x'|ljust:w }}{% endmacro %}{% if 0 %}{{ 1 % 0 }}{{ m() }}{% endif %}",
    ],
)
def test_an_audit_also_checks_values_and_blocks_that_are_never_rendered(text):
    assert severities(CHECK, an_image(RULE, {"t": text})) == ["medium"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{{ "a"|ljust:1000000|join:"" }}', ["high"]),
        ('{% for i in "' + "x" * 1000 + '" %}{{ "a"|ljust:1000|join:"" }}{% endfor %}', ["high"]),
        ('{{ "a"|ljust:1000|join:"," }}', ["medium"]),
        ('{{ "a"|ljust:20000|make_list|join:"" }}', []),
        *(
            (text.replace("N", name), found)
            for name in ("truncatechars_html", "truncatewords_html")
            for text, found in (
                ("{{ '" + "<" * 40_000 + "'|N:40000 }}", ["high"]),
                ("{{ '" + "<a>" * 10_000 + "</b>" * 10_000 + "'|N:9 }}", ["high"]),
                ("{{ 'x'|ljust:20000|N:9 }}", ["medium"]),
                ("{{ '" + "<b>x</b>" * 1000 + "'|N:99 }}", []),
            )
        ),
    ],
)
def test_filter_that_would_run_for_hours_gives_a_finding(text, found):
    image = an_image(RULE, {"t": text})
    assert severities(CHECK, image) == found
    slow = re.compile(r".*the filter '(join|truncate(chars|words)_html)' gets a (text of|computed text)")
    assert all(slow.match(message) for *_, message in observed(CHECK, image))


@pytest.mark.parametrize(
    "body",
    some_fast(
        [
            "{% with x=1 %}{% endwith %}",
            "{% for x in 'y' %}{% endfor %}",
            "{{ m() }}",
        ],
        every=3,
    ),
)
@pytest.mark.parametrize(
    ("variables", "found"), [pytest.param(3000, ["high"], marks=pytest.mark.slow), (5, [])]
)
def test_many_variables_give_a_finding_if_pongo2_copies_them_in_loops(body, variables, found):
    text = "{% macro m() %}{% endmacro %}" + "".join(f"{{% set a{n} = 1 %}}" for n in range(variables))
    loops = (
        f"{{% set s = '{'a' * 150}' %}}{{% for a in s %}}{{% for b in s %}}{body}{{% endfor %}}{{% endfor %}}"
    )
    image = an_image(RULE, {"t": text + loops})
    assert severities(CHECK, image) == found
    assert all("copies 300" in message for *_, message in observed(CHECK, image))


def test_work_for_nested_empty_tags_does_not_grow_exponentially():
    nested = "{% for a in x %}{% empty %}" * 40 + "{% if x %}" + WIDER + "{% endif %}" + "{% endfor %}" * 40
    assert severities(CHECK, an_image(RULE, {"t": nested})) == ["medium"]


def test_a_null_rule_is_found_if_it_makes_the_daemons_panic():
    image = an_image(rules("/etc/a:"))
    assert severities(CHECK, image) == ["medium"]
    assert advisories(CHECK, image) == {"CVE-2026-40195"}


def test_an_ordinary_template_has_no_finding():
    assert not observed(CHECK, an_image(RULE, {"t": "{% for i in config %}{{ i }}{% endfor %}"}))


ENDLESS = "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], 0),
        (["-c", "user.deep=yes"], 1),
        (["-i", "web1.json"], 1),
        (["-i", "web1.json", "-c", "user.deep="], 0),
        (["-c", "image.os=mine"], 0),
    ],
)
def test_an_audit_renders_templates_for_the_given_instance(words, found, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image/templates").mkdir(parents=True)
    (tmp_path / "image/rootfs").mkdir()
    text = "{% if config_get('user.deep', '') == 'yes' or config_get('image.os', '') == 'mine' %}"
    (tmp_path / "image/templates/t").write_text(f"{text}{ENDLESS}{{% endif %}}")
    (tmp_path / "image/metadata.yaml").write_text(f"{RULE}properties: {{os: theirs}}\n")
    (tmp_path / "web1.json").write_text('{"name": "web1", "config": {"user.deep": "yes"}, "devices": {}}')
    main(["audit", "image", "--json", "--at-least", "high", *words])
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [finding["check"] for finding in findings] == ["runaway"] * found


LOOPS = '{% for a in "0123456789" %}' * 9 + "x" + "{% endfor %}" * 9


@pytest.mark.parametrize(
    "text",
    [
        "{% if container.name == 'web' %}" + LOOPS + "{% endif %}",
        "{% if container.name %}{% else %}" + LOOPS + "{% endif %}",
        "{% ifequal pongo2.version '6.0.0' %}" + LOOPS + "{% endifequal %}",
        "{% if config_get('user.x','') %}{% if trigger %}a{% elif 1 %}" + LOOPS + "{% endif %}{% endif %}",
    ],
)
def test_runaway_loop_in_unrendered_branch_has_medium_severity(text):
    limits = Limits(seconds=100.0, total=200.0, steps=100_000)
    assert severities(CHECK, an_image(RULE, {"t": text}, limits=limits)) == ["medium"]


WIDE = "'" + "x" * 300 + "'"
CUBE = "".join(f"{{% for {name} in {WIDE} %}}" for name in "pqr") + "{% endfor %}" * 3
NESTED = '{% for a in "ab" %}' * 5 + "x" + "{% endfor %}" * 5
TWICE = '{% for a in "ab" %}{% for b in a %}'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "found"),
    some_fast(
        [
            (NESTED, []),
            (TWICE * 2 + "{% endfor %}" * 4, []),
            *(
                (text, ["medium"])
                for text in (
                    "{% if 0 %}{{ 1/0 }}{% endif %}{% if x %}" + CUBE + "{% endif %}",
                    "{% for z in config_get('user.x', '') %}" + CUBE + "{% endfor %}",
                    "{% macro m() %}" + CUBE + "{% endmacro %}{{ config_get('user.x', '') and m() }}",
                    "{% for z in config_get('user.x', '') %}{% with a="
                    + WIDE
                    + " %}"
                    + CUBE.replace(WIDE, "a")
                    + "{% endwith %}{% endfor %}",
                    "{% set a = 'x'|center:200 %}{% for z in x %}" + CUBE.replace(WIDE, "a") + "{% endfor %}",
                    "{% macro m(a) %}"
                    + CUBE.replace(WIDE, "a")
                    + "{% endmacro %}{{ x and m("
                    + WIDE
                    + ") }}",
                    "{% if 0 %}{{ 1/0 }}{% endif %}{% macro m() %}{% if x %}{{ m() }}{% endif %}{% endmacro %}{{ m() }}",
                    "{% macro m() %}{{ n() }}{% endmacro %}{% macro n() %}{{ x and m() }}{% endmacro %}{{ x and n() }}",
                )
            ),
            ("{% set x = " + WIDE + " %}{% for a in x %}{% for b in devices %}{% endfor %}{% endfor %}", []),
            (
                "{% macro m() %}"
                + TWICE
                + "{% endfor %}{% endfor %}{% endmacro %}{{ m() }}{{ m() }}{{ m() }}",
                [],
            ),
        ],
        every=3,
    ),
)
def test_recursive_macros_and_long_nested_loops_have_medium_severity(text, found):
    assert severities(CHECK, an_image(RULE, {"t": text})) == found


HIDDEN = "{% if 0 %}{{ 'a'|pluralize:'x,y' }}{% endif %}{{ x and r() }}"


@pytest.mark.parametrize(
    "body",
    [
        "{{ r }}",
        "{{ n|default:r }}",
        "{% if r %}{% endif %}",
        "{% if x %}{{ r }}{% endif %}",
        "{% for i in r %}{% endfor %}",
        "{% firstof r %}",
        "{{ 'a' in r }}",
        "{% filter default:r %}{% endfilter %}",
        "{% with a=r %}{% endwith %}",
        "{% for r in r %}{% endfor %}",
        "{% for k, r in x %}{{ r }}{% endfor %}",
        "{% with r=r %}{% endwith %}",
        "{% set r = r %}",
        "{% if 0 %}{% set r = 1 %}{% endif %}{{ r }}",
        "{% macro r() %}{% endmacro %}{{ r }}",
        "{% block b %}{{ r }}{% endblock %}",
    ],
)
def test_macro_that_refers_to_itself_without_brackets_is_found(body):
    text = "{% macro r(n) %}" + body + "{% endmacro %}" + HIDDEN
    messages = [message for *_, message in observed(CHECK, an_image(RULE, {"t": text}))]
    assert len(messages) == 1 and re.search("call each other|of a macro|same name|macro calls", messages[0])


def test_a_macro_as_default_of_its_own_parameter_gives_a_finding():
    text = "{% macro r(n=r) %}{{ n }}{% endmacro %}" + HIDDEN
    assert len(severities(CHECK, an_image(RULE, {"t": text}))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "{% macro name() %}{{ instance.name }}{% endmacro %}{{ name() }}",
    ],
)
def test_a_field_with_the_name_of_a_macro_gives_no_finding(text):
    assert not observed(CHECK, an_image(RULE, {"t": text}))


def doubling(number, call):
    """Return macros m0 to m(number - 1); each of them calls the macro before it twice."""
    macros = ["{% macro m0() %}x{% endmacro %}"]
    for n in range(1, number):
        macros.append(f"{{% macro m{n}() %}}{call.replace('NAME', f'm{n - 1}') * 2}{{% endmacro %}}")
    return "".join(macros)


@pytest.mark.parametrize("call", ["{{ NAME() }}", "{{ NAME }}", "{% if x %}{{ NAME }}{% endif %}"])
@pytest.mark.parametrize(
    "use",
    [
        "{{ x and NAME() }}",
        "{% for c in x %}{{ NAME }}{% endfor %}",
        "{% if x %}{% block b %}{{ NAME() }}{% endblock %}{% endif %}",
    ],
)
@pytest.mark.parametrize(("number", "is_long"), [(45, True), (2, False)])
def test_the_bound_doubles_if_a_macro_calls_the_previous_macro_twice(call, use, number, is_long):
    text = doubling(number, call) + use.replace("NAME", f"m{number - 1}")
    assert is_costly(text) == is_long


def test_exponentially_many_macro_calls_are_found_despite_a_condition():
    text = doubling(30, "{{ NAME() }}") + "{{ config_get('user.a', '') and m29() }}"
    limits = Limits(seconds=100.0, total=200.0, steps=100_000)
    assert severities(CHECK, an_image(RULE, {"t": text}, limits=limits)) == ["medium"]


def test_nested_macro_calls_in_loops_over_unknown_values_give_a_finding():
    text = "{% macro a() %}{% for i in x %}{{ b() }}{% endfor %}{% endmacro %}"
    text += "{% macro b() %}" + "{% for i in x %}" * 2 + "{% endfor %}" * 2 + "{% endmacro %}{{ x and a() }}"
    assert is_costly(text)


@pytest.mark.parametrize(("value", "rounds"), [("config", 20), ("x", 1000), ("'abc'", 3), ("devices", 20)])
def test_the_bound_assumes_twenty_keys_and_a_thousand_characters(value, rounds):
    def loop(body):
        return bound(parsed(f"{{% for a in {value} %}}{body}{{% endfor %}}"))[0]

    of_body = bound(parsed("{{ 1 }}" * 100))[0]
    assert rounds * 0.9 < (loop("{{ 1 }}" * 200) - loop("{{ 1 }}" * 100)) / of_body < rounds * 1.1


LATER = U + "|slice:'1100:'"
TEN = "{% set s = 'xxxxxxxxxx' %}"
EACH, END = "{% for d in devices %}", "{% endfor %}"
HALVES = "{% macro m(s) %}{{ s }}{{ s }}{% endmacro %}"


def parsed(text):
    return Compilation(Source("t", text.encode()), V6).parsed()


def is_costly(text):
    try:
        of_text = bound(parsed(text))
        return of_text.work > MOST_WORK or of_text.held > MOST_HELD
    except NoBoundError:
        return True


def loops_over(*values, body=""):
    loops = "".join(f"{{% for a{number} in {value} %}}" for number, value in enumerate(values))
    return loops + body + END * len(values)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        loops_over(U, U, U),
        "{% ifchanged %}{% else %}" + loops_over(LATER, LATER, LATER) + "{% endifchanged %}",  # runs only in 6.1
        loops_over(LATER, U + "|make_list", U + "|split:','"),
        loops_over("config.a", "config['b']", "x|default:config.c"),
        "{% set t = s %}{% set s = " + U + " %}" + loops_over("s", "s|split:','", "t"),
        HALVES.replace("{{ s }}{{ s }}", loops_over("s", "s", "s")) + "{{ m(" + U + ") }}",
        "{% macro m() %}{{ config.a }}{% endmacro %}" + loops_over("m()", "m()", "m()"),
        "{% macro m() %}{{ config }}{% endmacro %}" + loops_over("m()", "m()", "m()"),
        "{% with s=properties.os %}" + loops_over("s", "s", "s") + "{% endwith %}",
        "{% for n, d in devices %}" + loops_over("d.mtu", "d.mtu", "d.mtu") + END,
        "{% for w in " + U + "|split:' ' %}" + loops_over("w", "w", "w") + END,
        "{% set t = devices|stringformat:'%v' %}" + loops_over("t", "t", "t"),
        "{% set t = 1|stringformat:'%01000d' %}" + loops_over(LATER, "t", "t"),
        "{% set t = 'x'|ljust:'1000' %}" + loops_over(LATER, "t", "t"),
        loops_over(U, body="{% set s = s|add:'x' %}" + loops_over("s", "s")),
        loops_over(LATER, body="{{ config.u|join:',' }}"),
        loops_over(LATER, body="{{ config.u|truncatewords_html:9 }}"),
        loops_over(LATER, body="{% for l in " + U + "|split:';' %}{{ l|join:',' }}" + END),
        "{% filter join:',' %}" + loops_over(U, body="{{ " + U + " }}") + "{% endfilter %}",
        "{% filter upper|join:',' %}{% filter urlize %}" + loops_over(LATER, body="{{ " + U + " }}") + "{% endfilter %}{% endfilter %}",
        HALVES + loops_over("m(" * 10 + U + ")" * 10, "instance.name"),
        "".join(f"{{% set v{n} = 1 %}}" for n in range(99)) + loops_over(U, U, body="{% with a=1 %}{% endwith %}"),
    ],
)  # fmt: skip
def test_attack_41_three_nested_loops_over_long_texts_give_a_finding(text):
    """Three loops over an ordinary cloud-config keep a processor busy for an hour."""
    limits = Limits(seconds=100.0, total=200.0, steps=10_000_000, values=100_000_000, output=100_000_000)
    image = an_image(RULE, {"t": text}, limits=limits)
    assert severities(CHECK, image) == ["medium"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{% with m=1 %}", "{% endwith %}"),
        ("{% for m in 'x' %}", END),
        ("{% for k, m in devices %}", END),
        ("{% macro n(m) %}", "{% endmacro %}{{ n() }}"),
        ("{% macro m(m) %}", "{% endmacro %}{{ m() }}"),
        ("{% with m=1 %}{% block b %}", "{% endblock %}{% endwith %}"),
        ("{% with m=1 %}{% if x %}", "{% endif %}{% endwith %}"),
    ],
)
def test_attack_41_a_macro_hides_an_outer_variable_of_the_same_name(before, after):
    """The check took the name of the macro for the variable of the tag, so it saw no loop in the macro."""
    text = before + "{% macro m() %}" + loops_over(U, U, U) + "{% endmacro %}{{ m() }}" + after
    assert is_costly(text)


@pytest.mark.parametrize(
    "text",
    [
        "{% set u = " + U + " %}{{ u|make_list|join:u|make_list|join:u }}",
        "{% for l in " + U + "|split:';' %}{{ l|make_list|join:l|make_list|join:l }}" + END,
        "{% filter make_list|join:config.a|make_list|join:config.a %}{{ config.a }}{% endfilter %}",
        loops_over(U, U, body="{{ " + U + " }}"),
        loops_over(U, U, body="y" * 2000),
        loops_over(U, U, body="{% if " + U + "|urlize|length == 5 %}x{% endif %}"),
        loops_over(U, U, body="{% if " + U + "|wordcount == 5 %}x{% endif %}"),
        loops_over(U, U, body="{% if " + U + " + " + U + " == 'a' %}x{% endif %}"),
        loops_over(U, U, body="{% if 'a' in " + U + " and a0 %}x{% endif %}"),
        loops_over(U, body="{% if " + U + "|urlize|striptags" * 20 + "|length == 5 %}x{% endif %}"),
        loops_over(U, U, body="{% filter urlize|length %}{{ " + U + " }}{% endfilter %}"),
        "{% macro a() %}{{ "
        + U
        + "|length }}{% endmacro %}"
        + loops_over(U, U, body="{% if a() %}{% endif %}"),
        loops_over(LATER, body="{% lorem 100000 w %}"),
        "{% macro a() %}{{ config.u }}{% endmacro %}"
        "{% macro b() %}"
        + loops_over(U, body="{{ a() }}")
        + "{% endmacro %}"
        + loops_over(U, body="{{ b() }}"),
        loops_over(U, body="{% set c = c|add:b %}{% set b = b|add:a %}{% set a = a|add:'x' %}"),
    ],
)
def test_attack_42_a_text_gives_a_finding_if_it_can_fill_the_memory(text):
    assert severities(CHECK, an_image(RULE, {"t": text})) == ["medium"]


@pytest.mark.parametrize(
    "text",
    [
        TEN + EACH + "{% set s = s|make_list|join:s %}" + END,
        TEN + "{% for c in " + LATER + " %}{% set s = s|add:s %}" + END,
        TEN + EACH + "{% set s = s + s %}" + END,
        TEN + EACH + "{% set s = config_get('user.none', s|make_list|join:s) %}" + END,
        TEN + EACH + "{% set s = config_get('user.none', s + s) %}" + END,
        TEN + EACH + "{% set s = s|add:config_get('user.none', s) %}" + END,
        TEN + EACH + "{% if d == 'x' %}{% set s = s|escapejs %}{% endif %}" + END,
        TEN + EACH + "{% set s = s|stringformat:'%[1]s%[1]s' %}" + END,
        TEN + EACH + "{% set s = s|split:''|join:'ab' %}" + END,
        TEN + EACH + "{% set t = s|make_list|join:s %}{% set s = t %}" + END,
        TEN + EACH + "{% set a = s %}{% set b = s %}{% set s = a|add:b %}" + END,
        TEN + EACH + "{% set t = s|add:s %}{% set s = 'x' %}{% set s = t %}" + END,
        "{% set s = 'x' %}{% set t = s %}" + EACH + "{% set t = t|add:s %}{% set s = s|add:t %}" + END,
        TEN + EACH + "{% cycle s|add:s as s silent %}" + END,
        TEN + EACH + "{% block b %}{% set s = s|add:s %}{% endblock %}" + END,
        TEN + EACH + "{% filter upper %}{% set s = s|add:s %}{% endfilter %}" + END,
        HALVES + TEN + EACH + "{% set s = m(s) %}" + END,
        TEN + EACH + HALVES.replace("(s)", "()") + "{% set s = m() %}" + END,
        "{% macro n() %}" + TEN + EACH + "{% set s = s|add:s %}" + END + "{% endmacro %}{{ n() }}",
    ],
)
def test_attack_42_a_text_gives_a_finding_if_it_doubles_in_each_iteration(text):
    """A text that doubles for each device stays short with two devices.

    With thirty devices, the text fills the host's memory.
    """
    found = observed(CHECK, an_image(RULE, {"t": text}))
    assert {severity for severity, *_ in found} == {"medium"}


TAGS = "b" + ",b" * 300
SUM = "a0" + " + a0" * 900
TWO = "{% macro d() %}{{ s }}{{ s }}{% endmacro %}{% set s = " + U + " %}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        TWO + "{% set s = d() %}" * 10,
        TWO + "{% set t = d() %}{% set s = t %}" * 10,
        TWO.replace("d()", "d(t)").replace("s }}{{ s", "t }}{{ t") + "{% set s = d(s) %}" * 30,
        "".join(f"{{% macro d{n}() %}}{{{{ s{n} }}}}{{{{ s{n} }}}}{{% endmacro %}}" for n in range(20))
        + "{% set s0 = " + U + " %}" + "".join(f"{{% set s{n + 1} = d{n}() %}}" for n in range(20)) + "{% set s = s20 %}",
    ],
)  # fmt: skip
def test_attack_42_fast_text_growth_in_macros_gives_a_finding(text):
    """A macro that prints an outer variable twice hid a text of a million characters."""
    image = an_image(RULE, {"t": "{% if 0 %}" + text + loops_over("s", "instance.name") + "{% endif %}"})
    assert severities(CHECK, image) == ["medium"]


@pytest.mark.parametrize(
    "text",
    [
        "{% macro m(s) %}{% set s = s|add:'x' %}{{ s|escape }}{% endmacro %}{{ m(" + U + ") }}",
        "{% macro m(k) %}<{{ k }}>{% endmacro %}" + EACH + "{{ m(d)|upper }}" + END,
        "{% set t = t|add:'x' %}{% set t = t|add:'x' %}{{ t }}",
        "{% macro a(s) %}<{{ s }}>{% endmacro %}{% macro b() %}{{ a('x') }}{% endmacro %}{{ b() }}",
    ],
)
def test_ordinary_macros_give_no_finding(text):
    assert observed(CHECK, an_image(RULE, {"t": text})) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{% macro m(s) %}<{{ s }}>{% endmacro %}{% set s = m(1) %}", "the output of a macro"),
        ("{% macro m() %}x{% endmacro %}" + EACH + "{% set s = s|add:m() %}" + END, "the output of a macro"),
        (
            "{% macro a(s) %}{{ s }}{% endmacro %}{% macro b(s) %}{{ a(s) }}{% endmacro %}{{ b(1) }}",
            "with a computed value",
        ),
        ("{% macro r(r) %}{{ r }}{% endmacro %}{{ r(1) }}", "has the name of a macro, or contains the output of a macro"),
        ("{% macro r() %}{% for r in 'ab' %}{{ r }}{% endfor %}{% endmacro %}{{ r() }}", "call each other"),
        ("{% cycle x 'b' as s %}", "the template uses a tag in an unusual way"),
        (EACH + "{% set n = n + 1 %}{% set s = s|add:n %}" + END, "from other variables that change"),
        (EACH + "{% set s = s|split:'-'|join:'_' %}" + END, "several times longer"),
        ("{% for w in x sorted %}{{ w }}{% endfor %}", "a loop sorts a text or a list"),
        ("{{ x|stringformat:'%5d%5d' }}", "the filter 'stringformat' has an unusual argument"),
        ("{{ devices.Sorted.Len() }}", "the template calls 'devices.Sorted.Len'"),
        ("{% macro m(s) %}{{ s }}{% endmacro %}" + EACH + "{% set n = n + 1 %}{{ m(n) }}" + END, "a loop changes"),
        (EACH + "{% set s = s|add:'x' %}{% for c in s %}{% endfor %}" + END, "over which another loop runs"),
        ("{% block b %}{{ block|stringformat:'%f' }}{% endblock %}", "the variable 'block' contains"),
        ("{% filter join:',' %}{{ x }}{% endfilter %}", "the tag 'filter' uses the filter 'join'"),
    ],
)  # fmt: skip
def test_template_without_simple_bound_gives_finding_with_reason(text, reason):
    """Some of these templates are harmless.

    To recognise the harmless templates, an audit would have to know all ways to do harm.
    """
    ((severity, _, message),) = observed(CHECK, an_image(RULE, {"t": text}))
    assert severity == "medium" and reason in message


@pytest.mark.parametrize(
    "text",
    [
        loops_over(U, U, body=f"{{% if 'a'|removetags:'{TAGS}' == 'b' %}}{{% endif %}}"),
        loops_over(U, body=f"{{% filter removetags:'{TAGS}' %}}a{{% endfilter %}}"),
        loops_over(U, U, body=f"{{% if {SUM} %}}{{% endif %}}"),
        loops_over(U, U, body="{{ 'a'" + "|upper" * 300 + " }}"),
        f"{{% macro m(a0) %}}{{% if {SUM} %}}{{% endif %}}{{% endmacro %}}" + loops_over(U, "devices", "config", body="{{ m(1) }}"),
        *(loops_over(f"''|ljust:{width}", U) for width in ("'1e5'", "100000.0", "'+100000'", "'0x1p20'", "'1e30'")),
    ],
)  # fmt: skip
def test_attack_41_the_work_limit_includes_constant_work_in_loops(text):
    """pongo2 needed an hour for a million iterations, each of which compiled 300 regular expressions."""
    assert is_costly(text)


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        ("{% for a in config %}" * 4 + "{% endfor %}" * 4, "a daemon may work too long on this part"),
        (
            '{% set s = "xx" %}{% for d in devices %}{% set s = s|make_list|join:s %}{% endfor %}',
            "the filter 'join' has an unusual argument",
        ),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "more than 100 macro calls and includes"),
        ("{{ 1 / instance.name|length }}", "the template can divide by zero"),
    ],
)
def test_attack_41_template_part_that_incus_ignores_is_checked(hidden, message):
    """LXD ignores a bracket at the end of an end tag and the next tag. For Incus, this is a comment."""
    swallow = "{% spaceless %}{% endspaceless [ %}"
    text = f"{swallow}{{% comment %}}{hidden}{swallow}{{% endcomment %}}"
    if "for a in config" in hidden:
        text = text.replace("config", 'config_get("user.a", "")')
    assert message in observed(CHECK, an_image(RULE, {"t": text}))[0][-1]
    assert observed(CHECK, an_image(RULE, {"t": f"{{% comment %}}{hidden}{{% endcomment %}}"})) == []
    assert observed(CHECK, an_image(RULE, {"t": "[Network]\n[{{ instance.name }}]\n"})) == []


@pytest.mark.parametrize(
    "text",
    [
        "{% cycle s|make_list|join:s as s silent %}{% for d in devices %}{% cycle s %}{% endfor %}",
        "{% cycle s+s as s silent %}{% for k in config %}{% cycle s %}{% endfor %}",
        "{% cycle s+s as s silent %}{% set t = s %}{% for k in config %}{% cycle t|default:1 %}{% endfor %}",
        "{% macro m(a) %}{% for k in config %}{% cycle a %}{% endfor %}{% endmacro %}"
        "{% cycle s+s as s silent %}{{ m(s) }}",
    ],
)
def test_attack_41_a_self_doubling_cycle_gives_a_finding(text):
    assert "medium" in severities(CHECK, an_image(RULE, {"t": f'{{% set s = "x" %}}{text}'}))


@pytest.mark.parametrize("items", ["t", "1 t", 't|default:"x"', "t or 1", '""|default:t', "1 and t", "(t)"])
def test_attack_41_a_self_containing_cycle_gives_a_finding(items):
    """Go calls ``String`` of the value until the stack is full, which ends the daemon."""
    loop = '{% for a in config_get("user.a", "")|slice:"26:" %}'
    text = f"{loop}{{% cycle {items} as s silent %}}{{% set t = s %}}{{{{ s }}}}{{% endfor %}}"
    assert "medium" in severities(CHECK, an_image(RULE, {"t": text}))


DATA = 'config_get("cloud-init.user-data", "")|slice:"26:"'


@pytest.mark.parametrize(
    "text",
    [
        f"{{% for a in {DATA}|get_digit:0 %}}" * 3 + "{% endfor %}" * 3,
        f"{{% for a in {DATA}|stringformat:'' %}}".replace("'", '"') * 3 + "{% endfor %}" * 3,
        "{% set s = 'xxx' %}{% for d in devices %}{% set s = s|make_list|join:s|get_digit:0 %}{% endfor %}",
        f"{{{{ {DATA}" + '|stringformat:"% #x"' * 12 + "|length }}",
        f"{{% for a in {DATA} %}}{{% for b in {DATA} %}}"
        + '{% now "'
        + "January 2006 " * 1000
        + '" %}{% endfor %}{% endfor %}',
        f"{{{{ {DATA}" + ("|make_list|join:1" + "0" * 300 + ".5") * 4 + "|length }}",
        f"{{% for a in {DATA} %}}{{% for b in {DATA} %}}" + ("{{ 1" + "0" * 300 + ".5 }}") * 5 + END * 2,
        f"{{% set n = {DATA}|length %}}{{% for c in {DATA} %}}"
        + '{{ n|stringformat:"%[1]*[1]d%[1]*[1]d" }}{% endfor %}',
    ],
)
def test_attack_41_a_filter_or_tag_with_a_long_result_gives_a_finding(text):
    text = text.replace("'xxx'", '"xxx"')
    assert severities(CHECK, an_image(RULE, {"t": text})) == ["medium"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        "{% for b in properties.x %}{% endfor %}",
        "{{ properties.x }}",
        '{{ config["image.x"] }}',
    ],
)
def test_attack_41_a_long_property_counts_towards_the_limits(body):
    text = f"{{% for a in {DATA} %}}{body}{{% endfor %}}"
    for size, found in ((900_000, ["medium"]), (1, [])):
        image = an_image(f"{RULE}properties: {{x: {'y' * size}}}\n", {"t": text})
        assert severities(CHECK, image) == found
        rule = f"/etc/a: {{when: [create], template: t, properties: {{x: {'y' * size}}}}}"
        assert "config" in body or severities(CHECK, an_image(rules(rule), {"t": text})) == found


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["{# " + "x" * 100_000 + " #}", "\n{% comment %}" + "x" * 100_000 + "{% endcomment %}"]
)
def test_attack_41_the_work_limit_includes_reading_the_template_once_per_rule(text):
    many = rules(*(f"/etc/{n}: {{when: [start], template: t}}" for n in range(1000)))
    message = observed(CHECK, an_image(many, {"t": text}))[0][-1]
    assert message.startswith("all rules with the trigger 'start' together may be too much")
    assert observed(CHECK, an_image(RULE, {"t": text})) == []


@pytest.mark.slow
def test_attack_41_loopless_template_hides_no_work_of_others():
    number = 100
    each = [f"/etc/{n}: {{when: [start], template: t{n}}}" for n in range(number)]
    many = [f"/var/{n}: {{when: [start], template: many}}" for n in range(1000)]
    data = 'config_get("user.a", "")'
    loops = {
        f"t{n}": f"{{# {n} #}}{{% for a in {data} %}}{{% for b in {data} %}}{{% endfor %}}{{% endfor %}}"
        for n in range(number)
    }
    image = an_image(rules(*each, *many), {**loops, "many": "{{ 1 }}" * 6500})
    assert observed(CHECK, image)[0][-1].startswith("all rules with the trigger 'start' together")


@pytest.mark.parametrize(
    "text",
    [
        "{% macro m(x=" + U + "|add:" + U + ") %}{% endmacro %}{{ m() }}",
        "{% set s = '' %}{% macro m(x=s) %}{{ x }}{% endmacro %}{% set s = " + U + " %}{{ m() }}",
        loops_over(U, U, body="{{ ''" + "|phone2numeric" * 100 + " }}"),
        "{{ " + U + ("|add:" + U) * 150 + "|join:'' }}",
        "{{ " + U + "|make_list|join:'<>'" + "|truncatechars_html:999999|cut:'/'" * 24 + "|length }}",
        EACH + "{% set s = s|truncatechars_html:9|cut:'/' %}" + END,
        loops_over(U, U, body="x" * 820),
        "{% set l = " + U + "|make_list %}" + loops_over(U, body="{% if " + "or ".join(["'zz' in l "] * 280) + "%}{% endif %}"),
        "{% spaceless %}" + loops_over(U, U, body="<a> <b> " * 10) + "{% endspaceless %}",
        "{% set v = '' %}{% for k, v in config %}" + loops_over("v|slice:'200:'", "v", "v") + END,
        "{% set x = ''|stringformat:'' %}" + loops_over(U, *["x"] * 4),
        "{% set x = '' == '' %}{% set x = x|ljust:0 %}" + loops_over(U, *["x"] * 9),
        "{% filter default:config.a|" + '|'.join(["make_list|stringformat:'%9f'"] * 4) + "|length %}{% endfilter %}",
        loops_over(U, U, body="\U0001f600" * 95),
        "{% macro m() %}" + loops_over(U, U, body="{{ '" + '"' * 10 + "' }}") + "{% endmacro %}{% autoescape on %}{{ m() }}{% endautoescape %}",
        "{% with pongo2='' %}{% endwith %}" + loops_over(U, *["pongo2|ljust:0"] * 3),
        "{% set x = ''|linenumbers %}" + loops_over(U, *["x"] * 10),
        *(f"{{% set x = {x} %}}{{% set x = x|ljust:0 %}}" + loops_over(U, *["x"] * n) for x, n in (("1 - 9^300", 2), ("not 0.0", 8), ("-1.5", 8))),
        "{% for a in " + U + "|split:'?' %}{% set y = a %}" + loops_over("y", "y", "y") + END,
        "{% for a in " + U + "|split:'?' %}{% with y=a %}" + loops_over("y", "y", "y") + "{% endwith %}" + END,
        "{% macro m() %}{% if -'" + "x" * 100_000 + "' %}{% endif %}{% endmacro %}" + loops_over(U, body="{{ m() }}"),
        "{% set s = '" + "<b" * 5000 + "' %}" + ("{% if s|removetags:'b" + ",b" * 900 + "' %}{% endif %}") * 60,
        "{% set s = '" + "9" * 750 + "' %}" + loops_over(U, body="{% if " + " or ".join(["s < s"] * 20) + " %}{% endif %}"),
        "{% filter length %}" + ("{% filter title" + "|title" * 900 + " %}") * 5 + "{% filter escapejs|escapejs|escapejs|escapejs %}" + U + END.replace("for", "filter") * 7,
        "{% set y = '' %}{% macro a() %}{{ b(" + U + ") }}{% endmacro %}{% macro b(y) %}{% set w = y %}" + loops_over("w", "w", "w", "w") + "{% endmacro %}{{ a() }}",
        "{% macro m() %}" + loops_over(U, U, body="x" * 150) + "{% endmacro %}{% if not m() %}{% endif %}",
        loops_over(U, body="{% if devices" + ".Clone" * 98 + " %}{% endif %}"),
        "{% set l = " + U + ("|add:" + U) * 50 + " %}" + "{% with l=l|make_list %}" * 60 + "{% endwith %}" * 60,
        loops_over(U, "'é'", *(f"a{number}|upper" for number in range(1, 12))),
        loops_over(U, "'é'", *(f"a{number}|join:''" for number in range(1, 12))),
        "{% macro m() %}{% if -" + "x" * 100_000 + " %}{% endif %}{% endmacro %}" + loops_over(U, body="{{ m() }}"),
        "{% macro m() %}{% if i." + ".".join(["y" * 10_000] * 10) + " %}{% endif %}{% endmacro %}" + loops_over(U, body="{{ m() }}"),
        "{% for k, properties in config %}" + loops_over("properties", "properties", body="{{ k }}") + END,
        "{% for k, d in devices %}{% endfor %}{% for k, d in config %}" + loops_over("d", "d", body="{{ d }}") + END,
    ],
)  # fmt: skip
def test_attack_41_seemingly_cheap_but_costly_template_is_found(text):
    """Each template kept a daemon busy for minutes or filled its memory.

    The first version of the bound accepted these templates.
    """
    assert is_costly(text)


@pytest.mark.parametrize(
    "text",
    [
        '{% for k in config %}{% cycle "a" "b" as s %}{{ s }}{% endfor %}',
        '{% cycle "a" "b" as s silent %}{% for k in config %}{% cycle s %}{% endfor %}',
    ],
)
def test_ordinary_cycles_give_no_finding(text):
    assert observed(CHECK, an_image(RULE, {"t": text})) == []


@pytest.mark.slow
def test_attack_41_a_filter_with_many_tags_in_a_loop_gives_a_finding():
    text = "{% for i in '" + "x" * 200 + "' %}{{ 'a'|removetags:'" + "b," * 2000 + "b' }}" + END
    found = observed(CHECK, an_image(RULE, {"t": text}))
    assert [message for *_, message in found] == [
        "the filter 'removetags' gets 2001 tags, which takes the daemon very long"
    ]


@pytest.mark.parametrize("tag", ["{% with config_get=1 %}", "{% with config=" + U + " %}"])
def test_attack_41_loops_are_found_even_if_the_template_rebinds_a_map_name(tag):
    text = tag + loops_over(*(["config"] * 3 if "config=" in tag else [U] * 3)) + "{% endwith %}"
    assert is_costly(text)


@pytest.mark.parametrize(
    "text",
    [
        loops_over(U, U),
        loops_over("config", "devices", "devices.Sorted"),
        loops_over(U, U, body="{% if a0 == a1 %}{{ a0 }}{% endif %}"),
        "{% for l in " + U + "|split:';' %}{{ l|truncatechars_html:9 }}{{ l|join:',' }}" + END,
        "{% for l in " + U + "|split:';' %}{% for w in l|split:' ' %}{% for c in w %}{{ c }}" + END * 3,
        "{% for l in " + U + "|split:';' %}{% set kv = l|split:'=' %}"
        "{% for h in kv.1|split:',' %}{{ kv.0 }}: {{ h }}" + END * 2,
        "{% for n, d in devices %}{% for k, v in d %}{% for c in v %}{{ c }}" + END * 3,
        EACH + "{% set n = n + 1 %}{{ n }}{% set s = s|add:d|add:',' %}" + END,
        EACH + "{% with s=s|escape %}{% set s = s|add:s %}{{ s }}{% endwith %}" + END,
        EACH
        + "{% if forloop.First %}{% set sep = '' %}{% else %}{% set sep = ', ' %}{% endif %}{{ sep }}"
        + END,
        EACH + "{% set s = s|slice:'1:'|default:'a' %}{% set l = s|length %}" + END,
    ],
)
def test_ordinary_loops_over_long_texts_and_maps_give_no_finding(text):
    assert observed(CHECK, an_image(RULE, {"t": text})) == []


@pytest.mark.slow
def test_long_chain_of_macros_gives_a_finding_without_error():
    """A chain of 1,400 macros ended the audit with "the input is nested too deeply"."""
    chain = "".join(f"{{% macro m{n} () %}}{{{{ m{n - 1}() }}}}{{% endmacro %}}" for n in range(1, 1400))
    text = "{% macro m0() %}x{% endmacro %}" + chain + "{{ 0 and m1399() }}"
    assert severities(CHECK, an_image(RULE, {"t": text})) == ["medium"]


def test_an_if_tag_with_harmless_branches_has_no_finding():
    text = "{% if trigger == 'create' %}a{% elif config_get('user.x','') %}b{% else %}c{% endif %}"
    assert not observed(CHECK, an_image(RULE, {"t": text}))


def test_finding_about_total_time_limit_has_position_of_rule():
    image = an_image(RULE, {"t": "x"}, limits=Limits(total=0.0))
    message = "rendering all templates together takes longer than 0 seconds after 0 files"
    assert observed(CHECK, image) == [("high", "image/metadata.yaml:4:38", message)]


def test_an_unreadable_template_is_not_a_runaway_template():
    image = an_image(RULE, {"t": "x"})
    image.templates["t"] = TemplateFile(Entry(FILE), None, LimitError("too large"))
    assert observed(CHECK, image) == []
    assert observed("template-file", image) == [("high", "templates/t", "too large")]


@pytest.mark.parametrize(
    "text",
    [
        "{% if container.name == 'web' %}{% lorem 100000000 w %}{% endif %}",
        "{% if trigger %}{% else %}{{ 'x'|ljust:2000000000 }}{% endif %}",
        "{% if 0 %}a{% elif 0 %}{% lorem 100000000 w %}{% endif %}",
        "{% if trigger %}{% if 0 %}{% lorem 100000000 w %}{% endif %}{% endif %}",
    ],
)
def test_a_conditionally_endless_template_gives_a_finding_with_a_hint(text):
    image = an_image(RULE, {"t": text}, limits=Limits(seconds=100.0, total=200.0, steps=100_000))
    (found,) = [each for each in audit(image) if each.check == CHECK]
    assert found.message.startswith("if certain conditions are true, ") and found.severity == Severity.MEDIUM
    assert found.hint == "preview the template for an instance that makes the conditions true"
    assert found.place.startswith("image/templates/t:1:")


def test_endless_template_of_two_rules_gives_one_finding():
    image = an_image(
        rules("/etc/a: {when: [create], template: t}", "/etc/b: {when: [start], template: t}"),
        {"t": "{% lorem 100000000 w %}"},
    )
    assert severities(CHECK, image) == ["high"]


@pytest.mark.parametrize(
    ("number", "when", "body", "found"),
    [
        (90, "[start]", "", []),
        (100, "[start]", "", ["medium"]),
        (100, "[copy, create]", "", ["medium"]),
        (85, "[start]", "y" * 15, ["medium"]),
    ],
)
@pytest.mark.parametrize("names", [1, 2])
def test_attack_41_work_of_rules_is_summed_per_trigger(number, when, body, found, names):
    """A thousand rules with a harmless template kept a start busy for hours."""
    entries = (f"/etc/{n}: {{when: {when}, template: t{n % names}}}" for n in range(number))
    texts = {f"t{n}": loops_over(U, U, body=body) + "#" * n for n in range(names)}
    assert severities(CHECK, an_image(rules(*entries), texts)) == found


def test_the_work_of_rules_with_different_triggers_is_counted_separately():
    entries = (
        f"/etc/{when}{n}: {{when: [{when}], template: t}}"
        for n in range(40)
        for when in ("create", "copy", "start")
    )
    assert severities(CHECK, an_image(rules(*entries), {"t": loops_over(U, U)})) == []


def test_attack_41_the_work_of_many_loops_in_one_template_is_added_up():
    assert severities(CHECK, an_image(RULE, {"t": loops_over(U, U) * 20})) == ["medium"]


VECTORS = Path(__file__).parents[1] / "vectors/found"
RECORDED, BRANCHES, HIDDEN_PANICS = (
    [json.loads(line) for line in (VECTORS / f"{name}.jsonl").read_text().splitlines()]
    for name in ("failing_subscripts", "branches", "hidden_panics")
)
#: templates that don't panic, but are too unusual for the check to know it
UNSURE = {"subscript-010", "subscript-022", "subscript-033"}


@pytest.mark.parametrize("condition", some_fast(["", "{% if config.user == 'rare' %}"], every=2))
@pytest.mark.parametrize("vector", RECORDED, ids=lambda vector: vector["id"])
def test_subscripted_variable_gives_a_finding_if_pongo2_panics(vector, condition):
    """In a variable with a subscript, pongo2 6 panics instead of returning an error.

    The check found only errors of the variable's last part.
    """
    text = f"{condition}{vector['template']}{'{% endif %}' * bool(condition)}"
    found = severities(CHECK, an_image(RULE, {"t": text}))
    panics = bool(vector["v6"].get("panic"))
    assert found == (["medium"] if panics or vector["id"] in UNSURE else [])


@pytest.mark.parametrize("vector", BRANCHES, ids=lambda vector: vector["id"])
def test_panic_on_only_one_path_through_template_is_found(vector):
    """The check knew only one value of a variable, and no value of a default of ``config_get``.

    The recorded instance takes the branch with the panic, and no instance of the check does. The templates
    without a panic have none for any instance.
    """
    found = severities(CHECK, an_image(RULE, {"t": vector["template"]}))
    assert found == ["medium"] * bool(vector["v6"].get("panic"))


@pytest.mark.slow
@pytest.mark.parametrize("vector", HIDDEN_PANICS, ids=lambda vector: vector["id"])
def test_panic_after_error_in_the_same_expression_is_found(vector):
    """The check left some panics to a render, for example of empty tags and of a division by ``true``."""
    found = severities(CHECK, an_image(RULE, {"t": vector["template"]}))
    assert found == ["medium"] * any(vector[key].get("panic") for key in ("v4", "v6", "v61"))
