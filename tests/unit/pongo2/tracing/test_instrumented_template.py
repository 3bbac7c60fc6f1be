"""A traced render prints the same text, and names the context reads behind each part of it."""

import pytest

from templater import pongo2
from templater.model.errors import TemplaterError
from templater.pongo2.daemon_context import daemon_context
from templater.pongo2.dialect import DIALECTS
from templater.pongo2.render_state import Limits
from templater.pongo2.tracing import recorder
from templater.pongo2.tracing.instrumented_template import FACTOR, TracedTemplate, larger
from templater.pongo2.tracing.recorder import CONFIG_DEFAULT, FILTER_DEFAULT, NOTHING, TEXT, normal
from tests.test_vectors import FILES, RECORDED, vectors

DEVICES = {"eth0": {"type": "nic", "name": "lan0"}, "root": {"type": "disk", "path": "/"}}


def context():
    config = {"user.a": "one", "user.b": "two", "user.empty": ""}
    facts = {"name": "c1", "type": "container"}
    return daemon_context("create", "/etc/x", facts, config, DEVICES, {"p": "property"})


def pieces(template, dialect="v6.1"):
    compiled = pongo2.compile(template, DIALECTS[dialect])
    traced = TracedTemplate(compiled.compilation).render(context())
    assert traced is not None
    assert traced.text == compiled.render(context())
    return traced.pieces


def values(template, dialect="v6.1"):
    """Return (text, reads, reads of conditions) of each part that is not a text of the template."""
    found = [piece for piece in pieces(template, dialect) if piece.site.kind != TEXT]
    return [
        (
            "" if piece.site.kind == NOTHING else piece.text,
            [".".join(name) for name in piece.reads],
            [".".join(name) for name in piece.because],
        )
        for piece in found
    ]


def check_vectors(step):
    """Compare traced with normal renders of every ``step``-th recorded template that renders."""
    count = 0
    for path in FILES:
        for recorded in RECORDED:
            for vector in vectors(path, recorded)[::step]:
                if vector.line["mode"] != "incus":
                    continue
                try:
                    compiled = pongo2.compile(vector.template, vector.dialect)
                    text = compiled.render(vector.context, clock=1.0, seed=5)
                except TemplaterError:
                    continue
                traced = TracedTemplate(compiled.compilation).render(vector.context, clock=1.0, seed=5)
                assert traced is not None, vector.id
                assert traced.text == text, vector.id
                joined = "".join(piece.text for piece in traced.pieces)
                assert joined.encode("utf-8", "surrogateescape") == text.encode("utf-8", "surrogateescape")
                count += 1
    return count


@pytest.mark.slow
def test_a_traced_render_prints_the_recorded_text():
    assert check_vectors(40) > 80


@pytest.mark.slow
def test_a_traced_render_prints_the_recorded_text_for_every_template():
    assert check_vectors(1) > 4000


A, B, NONE = "config.user.a", "config.user.b", "config.user.none"
CASES = [
    ("{{ instance.name }}", [("c1", ["instance.name"], [])]),
    ("{{ container.name|upper }}", [("C1", ["instance.name"], [])]),
    ("{{ instnace.name }}", [("", ["instnace.name"], [])]),
    ('{{ config["user.a"] }}', [("one", [A], [])]),
    ('{{ "x" }}', [("x", [], [])]),
    # only the default that is used counts
    ('{{ config_get("user.a", properties.p) }}', [("one", [A], [])]),
    (
        '{{ config_get("user.none", properties.p) }}',
        [("property", [NONE, f"{CONFIG_DEFAULT}.user.none", "properties.p"], [])],
    ),
    ('{{ config["user.a"]|default:properties.p }}', [("one", [A], [])]),
    (
        '{{ config["user.empty"]|upper|default:properties.p|lower }}',
        [("property", ["config.user.empty", FILTER_DEFAULT, "properties.p"], [])],
    ),
    ('{{ config["user.none"]|default_if_none:"x" }}', [("x", [NONE, FILTER_DEFAULT], [])]),
    # a computed key is a value, too
    ('{{ config["user." + config["user.k"]|default:"b"] }}', None),
    ('{% set k = "user.a" %}{{ config[k] }}', [("one", [A], [])]),
    # conditions: the operands that were evaluated, and the conditions of earlier branches
    ('{% if config["user.a"] == "one" or config["user.b"] %}x{% endif %}', []),
    (
        '{% if config["user.none"] %}x{% elif config["user.b"] %}{{ path }}{% endif %}',
        [("/etc/x", ["path"], [NONE, B])],
    ),
    ('{% if config["user.none"] %}x{% endif %}', [("", [], [NONE])]),
    # names that the template binds carry the reads of their values
    ('{% set x = config["user.a"] + config["user.b"] %}{{ x }}', [("onetwo", [A, B], [])]),
    (
        '{% set x = "n" %}{% if config["user.a"] %}{% set x = "y" %}{% endif %}{{ x }}',
        [("", [], [A]), ("y", [A], [])],
    ),
    (
        '{% set x = "n" %}{% if config["user.none"] %}{% set x = "y" %}{% endif %}{{ x }}',
        [("", [], [NONE]), ("n", [NONE], [])],
    ),
    ('{% with x=config["user.a"] %}{{ x }}{% endwith %}{{ x }}', [("one", [A], []), ("", ["x"], [])]),
    (
        '{% macro m() %}{% set c = config["user.b"]|upper %}{{ path }}{% endmacro %}'
        '{% with a=config["user.a"]|upper b=m() %}{{ a }}{{ b }}{% endwith %}',
        [("ONE", [A], []), ("/etc/x", ["path"], [])],
    ),
    # loops
    (
        "{% for name, device in devices %}{{ name }}{{ device.type }}{% endfor %}",
        [
            ("eth0", ["devices.eth0"], ["devices"]),
            ("nic", ["devices.eth0.type"], ["devices"]),
            ("root", ["devices.root"], ["devices"]),
            ("disk", ["devices.root.type"], ["devices"]),
        ],
    ),
    (
        '{% for k, v in config %}{% if k == "user.a" %}{{ v }}{{ forloop.Last }}{% endif %}{% endfor %}',
        [
            ("one", [A], ["config", A]),
            ("False", ["config"], ["config", A]),
            ("", [], ["config", B]),
            ("", [], ["config", "config.user.empty"]),
        ],
    ),
    ("{% for x in properties.none %}{% empty %}{{ path }}{% endfor %}", [("/etc/x", ["path"], ["properties.none"])]),
    # a loop over a text or a list keeps the value of its second name
    (
        '{% set v = config["user.a"] %}{% for c, v in "x" %}{{ v }}{% endfor %}{% for c, v in path|make_list|slice:":1" %}'
        '{{ v }}{{ c }}{% endfor %}',
        [("one", [A], []), ("one", [A], ["path"]), ("/", ["path"], ["path"])],
    ),
    (
        '{% for k, v in config %}{% for c, v in "x" %}{{ v }}{% endfor %}{% endfor %}',
        [("one", [A], ["config"]), ("two", [B], ["config"]), ("", ["config.user.empty"], ["config"])],
    ),
    # two equal names have the value of each item
    ("{% for v, v in properties %}{{ v }}{% endfor %}", [("property", ["properties"], ["properties"])]),
    # texts of bodies are values of the tag that prints them
    (
        '{% filter upper %}{{ path }}{% if config["user.a"] %}x{% endif %}{% endfilter %}',
        [("/ETC/XX", ["path", A], [])],
    ),
    (
        '{% macro m(x) %}{{ x }}{{ config["user.b"] }}{% endmacro %}{{ m(config["user.a"]) }}',
        [("onetwo", [A, B], [])],
    ),
    ('{% filter cut:config["user.a"] %}one1{% endfilter %}', [("1", [A], [])]),
    # a macro without brackets is called, too
    (
        '{% set m = "x" %}{% macro m() %}{{ config["user.a"] }}{% endmacro %}{% with n=m p=path %}{{ n }}{{ p }}{% endwith %}'
        '{% set m = m|safe %}{{ m }}',
        [("one", [A], []), ("/etc/x", ["path"], []), ("one", [A], [])],
    ),
    # a computed key is a value, too, if a name stands for the map
    (
        '{% set m = config %}{% set x = m["user." + properties.p|slice:"8:" + "a"] %}{{ x }}',
        [("one", ["properties.p", A], [])],
    ),
    # a field of a loop changes with the loop, even if a name stands for the field
    (
        '{% for k in "ab"|make_list %}{% if forloop.First %}{% set x = forloop.Counter|safe %}{% endif %}{{ x }}{% endfor %}',
        [("1", [], []), ("2", [], [])],
    ),
    # a tag that remembers earlier values also names the reads of these values
    (
        '{% for k in "ab"|make_list %}{% ifchanged config["user." + k] %}{{ path }}{% endifchanged %}{% endfor %}',
        [("/etc/x", ["path"], [A]), ("/etc/x", ["path"], [B, A, "path"])],
    ),
    ('{% ifchanged %}{{ config["user.a"] }}{% endifchanged %}{{ path }}', [("one", [A], []), ("/etc/x", ["path"], [])]),
    (
        '{% for k in "aa"|make_list %}{% ifchanged %}{{ config["user.a"] }}{% else %}{{ path }}{% endifchanged %}{% endfor %}',
        [("one", [A], []), ("/etc/x", ["path"], [A])],
    ),
    (
        '{% for k in "ab"|make_list %}{% cycle path config["user.a"] %}{% endfor %}',
        [("/etc/x", ["path"], []), ("one", [A, "path"], [])],
    ),
    (
        '{% set v = "x" %}{% cycle config["user.a"] as v silent %}{{ v }}{% set w = v|safe %}{% set v = "x" %}{{ w }}{{ v }}',
        [("", [A], []), ("one", [A], []), ("one", [A], []), ("x", [], [])],
    ),
    ('{% firstof config["user.none"] config["user.a"] path %}', [("one", [NONE, A], [])]),
]  # fmt: skip


@pytest.mark.parametrize(("template", "expected"), CASES, ids=[template for template, _ in CASES])
def test_the_trace_has_the_variables_behind_a_printed_value(template, expected):
    if expected is None:
        assert ("two", ["config.user.k", FILTER_DEFAULT, B], []) in values(template)
    else:
        assert values(template) == expected


@pytest.mark.parametrize(
    ("template", "compared"),
    [
        ('{% macro m(t) %}{% if t == "x" %}y{% endif %}{% endmacro %}{% if m(config["user.a"]) %}z{% endif %}', {A}),
        ('{% macro m(t=config["user.a"]) %}{% if t == "x" %}y{% endif %}{% endmacro %}{% if m %}z{% endif %}', {A}),
        ('{% macro m(t=config["user.a"]) %}{% if t == "x" %}y{% endif %}{% endmacro %}{% set n = m %}{{ n }}', {A}),
        ('{% macro m(t) %}{% for c in t %}y{% endfor %}{% endmacro %}{{ m(config["user.a"]) }}{{ m(path) }}', {A, "path"}),
        ('{% macro m(t) %}{% if t %}y{% endif %}{{ t }}{% endmacro %}{% if m(config["user.a"]) %}z{% endif %}', set()),
    ],
)  # fmt: skip
def test_the_trace_has_the_variables_that_are_compared_through_macro_parameters(template, compared):
    found = TracedTemplate(pongo2.compile(template, DIALECTS["v6.1"]).compilation).render(context())
    assert {".".join(name) for name in found.compared} == compared


@pytest.mark.parametrize("statement", ["{% set x = m %}", "{% with x=m y=path %}{{ y }}{% endwith %}"])
def test_later_values_are_traced_correctly_after_a_failed_macro_in_v4(statement):
    macro = '{% macro m() %}{% for x in "a" %}{{ x|date:"x" }}{% endfor %}{% endmacro %}'
    template = macro + statement + '{% filter upper %}{{ config_get("user.a", "") }}{% endfilter %}'
    assert values(template, "v4")[-1] == ("ONE", [A], [])


def test_a_failed_v4_macro_does_not_affect_later_values():
    template = "{% macro m() %}{% for x in config %}{{ x.y.z }}{% endfor %}{% endmacro %}{{ m() }}{{ path }}"
    assert values(template, "v4")[-1] == ("/etc/x", ["path"], [])


def test_a_traced_render_does_not_escape_safe_values():
    template = "{% autoescape on %}{{ '<'|safe }}{{ '<' }}{{ '<'|safe + '<' }}{% endautoescape %}{{ '<' }}"
    assert [piece.text for piece in pieces(template)] == ["<", "&lt;", "&lt;&lt;", "<"]


def test_a_render_without_tracing_does_not_load_the_trace_module():
    import subprocess
    import sys

    code = (
        "import sys; from templater import pongo2;"
        "pongo2.compile('{% if a %}{{ a }}{% endif %}').render({'a': 1});"
        "print([name for name in sys.modules if 'trac' in name and 'templater' in name])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("trigger", "trigger"),
        ("container.name", "instance.name"),
        ("instance.name", "instance.name"),
        ("instance.name.x.y", "instance.name"),
        ("config.user.a", "config.user"),
        ("config_get.x", "config"),
        ("config_get", "config"),
        ("devices", "devices"),
        ("devices.eth0", "devices.eth0"),
        ("devices.eth0.type", "devices.eth0.type"),
        ("devices.eth0.type.x", "devices.eth0.type"),
        ("devices.Eth1.type", "devices.Eth1.type"),
        ("devices.Sorted", "devices"),
        ("devices.Sorted.x", "devices"),
        ("devices.eth0.Sorted", "devices.eth0"),
        ("devices.missing.type", "devices.missing.type"),
        ("properties.os.x", "properties.os"),
    ],
)
def test_the_trace_omits_irrelevant_parts_of_a_variable_name(name, read):
    context = {"devices": {"eth0": {}, "Eth1": {}}}
    assert normal(context, tuple(name.split("."))) == tuple(read.split("."))


@pytest.mark.parametrize(("limit", "most"), [("MAX_PIECES", 3), ("MAX_READS", 4)])
def test_a_render_with_too_many_pieces_returns_no_trace(limit, most, monkeypatch):
    template = '{{ path }}{% if config["user.a"] %}{{ path }}{{ config["user.b"] }}{% endif %}'
    traced = TracedTemplate(pongo2.compile(template, DIALECTS["v6.1"]).compilation)
    count = {"MAX_PIECES": 3, "MAX_READS": 5}[limit]
    monkeypatch.setattr(recorder, limit, count)
    assert traced.render(context()) is not None
    monkeypatch.setattr(recorder, limit, count - 1)
    assert traced.render(context()) is None


@pytest.mark.parametrize("mode", ["plain", "incus"])
def test_the_trace_gives_the_template_offset_of_each_piece(mode):
    template = 'a{{ path }}{% filter upper %}b{% endfilter %}{% if config["user.none"] %}{% endif %}'
    compiled = pongo2.compile(template, DIALECTS["v6.1"], mode=mode)
    found = TracedTemplate(compiled.compilation).render(context())
    sites = {piece.site.kind: piece.site.start for piece in found.pieces}
    assert sites == {TEXT: 0, "value": 4, "captured": 14, NOTHING: 51}


def test_tracing_increases_only_the_limits_on_steps_and_values():
    limits = larger(Limits(steps=7, output=11, values=13, depth=17, seconds=19, total=23, source=29))
    assert (limits.steps, limits.values) == (7 * FACTOR, 13 * FACTOR)
    assert (limits.output, limits.depth, limits.seconds, limits.total, limits.source) == (11, 17, 19, 23, 29)
