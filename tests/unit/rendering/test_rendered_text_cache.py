"""Kept texts: a change renders the templates that read the changed value, and no other template."""

import json
from pathlib import Path

import pytest

from templater.model.entry import FILE, Entry, TemplateFile
from templater.model.errors import TemplaterError
from templater.model.hosts import HOSTS, INCUS
from templater.model.instance import Instance
from templater.model.metadata import Metadata, Rule
from templater.model.render_options import RenderOptions
from templater.model.source import Source
from templater.pongo2.compiled_template import Template
from templater.pongo2.dialect import DIALECTS
from templater.pongo2.parse_with_includes import Compilation
from templater.pongo2.render_state import Limits
from templater.pongo2.syntax.tokens import IDENTIFIER
from templater.rendering import rendered_text_cache
from templater.rendering.render import Compiled, render
from templater.rendering.rendered_text_cache import Memo, _frozen

VECTORS = Path(__file__).resolve().parents[2] / "vectors"
ETH0 = {"eth0": {"type": "nic", "name": "eth0"}}


class Renders:
    """Renders of one rule's template with one Memo. ``of`` returns the text and whether it was rendered."""

    def __init__(self, monkeypatch):
        self.memo = Memo()
        self.compiled = []
        compile = Compiled.compile

        def spy(templates, name, data):
            self.compiled.append(name)
            return compile(templates, name, data)

        monkeypatch.setattr(Compiled, "compile", spy)

    def of(self, text, *, host=INCUS, path="/a", properties=None, trigger="create", clock=None, **instance):
        rule = Rule(path, "a.tpl", (trigger,), properties=properties or {})
        files = {"a.tpl": TemplateFile(Entry(FILE), text.encode())}
        options = RenderOptions(host, clock=clock, seed=None if clock is None else 0)
        self.compiled.clear()
        self.memo.begin()
        (found,) = render(
            Metadata(rules=(rule,)), self.memo.compiled(files, options), Instance("c1").replace(**instance),
            (trigger,), options,
        )  # fmt: skip
        return found.content and found.content.decode(), bool(self.compiled)


@pytest.fixture
def renders(monkeypatch):
    return Renders(monkeypatch)


CHANGES = {
    "the name": {"name": "c2"},
    "the type": {"type": "virtual-machine"},
    "a key": {"config": {"user.a": "1"}},
    "another key": {"config": {"user.b": "1"}},
    "a device": {"devices": ETH0},
    "the trigger": {"trigger": "copy"},
    "the path": {"path": "/b"},
    "a property": {"properties": {"a": "1"}},
    "another property": {"properties": {"b": "1"}},
}
ANY_KEY = {"a key", "another key"}


@pytest.mark.parametrize(
    ("template", "read"),
    [
        ("fixed: trigger config path", set()),
        ("{{ instance.name }}", {"the name"}),
        ("{{ container.type }}", {"the type"}),
        ("{{ instance }}", {"the name", "the type"}),
        ('{{ config_get("user.a", "") }}', {"a key"}),
        ('{{ config_get("user.a", "") }}{{ config_get("user.b", "") }}', ANY_KEY),
        ('{{ config_get("user."|add:"a", "") }}', ANY_KEY),
        ('{% set k = "user.a" %}{{ config_get(k, "") }}', ANY_KEY),
        ("{{ config }}", ANY_KEY),
        ("{{ config|length }}", ANY_KEY),
        ("{% for k in config %}{{ k }}{% endfor %}", ANY_KEY),
        ("{% set c = config %}{{ c }}", ANY_KEY),
        ('{% if "user.a" in config %}x{% endif %}', ANY_KEY),
        ('{% macro m(x=config_get("user.a", "")) %}{{ x }}{% endmacro %}{{ m() }}', {"a key"}),
        ('{% for config in "ab" %}{{ config }}{% endfor %}', ANY_KEY),  # the name, although it is bound here
        ("{{ properties.a }}", {"a property"}),
        ("{{ properties }}", {"a property", "another property"}),
        ("{{ devices.eth0.type }}", {"a device"}),
        ("{{ trigger }}{{ path }}", {"the trigger", "the path"}),
        ("{% comment %}{{ path }}{% endcomment %}", {"the path"}),
        ("{# {{ path }} #}{% verbatim %} {{ path }}{% endverbatim %}", set()),
    ],
)
def test_a_template_is_rendered_again_only_for_changed_values(renders, template, read):
    text, rendered = renders.of(template)
    assert rendered
    assert renders.of(template) == (text, False)
    for name, change in CHANGES.items():
        expected, _ = Renders.of(fresh := renders_without_memo(renders), template, **change)
        assert fresh.memo is not renders.memo
        assert renders.of(template, **change) == (expected, name in read), name
        renders.of(template)


def renders_without_memo(renders):
    fresh = object.__new__(Renders)
    fresh.memo, fresh.compiled = Memo(), renders.compiled
    return fresh


def test_the_watch_cache_has_no_text_for_a_changed_template(renders):
    assert renders.of("one") == ("one", True)
    assert renders.of("two") == ("two", True)


@pytest.mark.parametrize("template", ['{% now "15" %}', '{{ "ab"|random }}', "{% lorem 1 w random %}"])
def test_a_clock_dependent_text_is_reused_only_for_the_same_time(renders, template):
    renders.of(template)
    assert renders.of(template)[1]
    at_one = renders.of(template, clock=3600.0)
    assert at_one[1]
    assert renders.of(template, clock=3600.0) == (at_one[0], False)
    assert renders.of(template, clock=7200.0)[1]


def test_hosts_with_different_device_order_share_no_cached_text(renders):
    nested = {"a": {"type": "nic", "nested": "b"}, "b": {"type": "nic"}}
    template = "{% for d in devices.Sorted() %}{{ d.Name }}{% endfor %}"
    assert renders.of(template, host=HOSTS["incus"], devices=nested) == ("ba", True)
    old = next(host for host in HOSTS.values() if not host.nested_last)
    assert renders.of(template, host=old, devices=nested) == ("ab", True)
    for host in HOSTS.values():
        version, _ = renders.of("{{ pongo2.version }}", host=host)
        assert version == renders_without_memo(renders).of("{{ pongo2.version }}", host=host)[0]


def test_a_failed_template_is_rendered_again_in_the_next_run(renders):
    for _ in range(2):
        assert renders.of("{{ a|nosuch }}") == (None, True)
        assert renders.of("{{ instance.name.x }}") == (None, True)


def test_a_cached_template_is_rendered_again_if_the_limits_change(monkeypatch):
    memo, files = Memo(), {"a.tpl": TemplateFile(Entry(FILE), b"{% for i in '12345' %}{{ i }}{% endfor %}")}
    rules = Metadata(rules=(Rule("/a", "a.tpl", ("create",)),))

    def content(limits):
        options = RenderOptions(INCUS, limits=limits)
        return render(rules, memo.compiled(files, options), Instance("c1"), ("create",), options)[0].content

    assert content(Limits()) == b"12345"
    assert content(Limits(output=3)) is None
    assert content(Limits()) == b"12345"


def test_cached_texts_do_not_exceed_the_memory_limit(renders, monkeypatch):
    monkeypatch.setattr(rendered_text_cache, "MOST", 100_000)
    template = "{{ path }}" + "x" * 30_000
    for number in range(9):
        assert renders.of(template, path=f"/{number}") == (f"/{number}" + "x" * 30_000, True)
    assert renders.memo._size <= 100_000
    long = "x" * 120_000
    assert renders.of(long) == (long, True)
    assert renders.of(long) == (long, True)


def test_a_run_removes_unused_cached_texts(renders):
    renders.of("one")
    renders.of("two")
    assert renders.of("one")[1]


def test_a_very_long_template_is_rendered_again_each_time(renders, monkeypatch):
    monkeypatch.setattr(rendered_text_cache, "MAX_FOR_KEYS", len("{{ path }}"))
    for text, is_rendered_again in (("{{ path }}", False), ("{{ path }}.", True)):
        assert [renders.of(text)[1] for _ in range(2)] == [True, is_rendered_again]


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["v4", "v6.1"])
def test_variable_names_in_compiled_code_come_from_template_tokens(dialect):
    """The memo takes a template's names from its tokens.

    So every name that the program reads must be a token.
    """
    texts = {
        text for path in VECTORS.glob("*/*.jsonl") for line in path.open() if (text := template_of(line))
    }
    programs = 0
    for text in texts:
        compilation = Compilation(Source("a.tpl", text), DIALECTS[dialect])
        try:
            document, program = compilation.parsed(), Template(compilation).program
        except TemplaterError:
            continue
        programs += 1
        read = {name for _, names, *_ in program.units for name in names} | set(program.bound)
        words = {token.value for token in document.tokens if token.kind == IDENTIFIER}
        assert read - words <= {"forloop", "block", "pongo2"}, text
    assert programs > 1000


def template_of(line):
    text = json.loads(line).get("template")
    return text if isinstance(text, str) else None


@pytest.mark.parametrize(("text", "size"), [("a" * 100, 100), ("é" * 100, 400)])
def test_cached_non_ascii_texts_take_four_bytes_per_character(text, size):
    memo = Memo()
    memo.parsed(Source("a", text), "v4")
    assert memo._size == rendered_text_cache.OVERHEAD + size


def test_each_variable_in_a_cached_template_adds_to_the_cache_size():
    memo = Memo()
    memo.parsed(Source("a", "{{ path }}{{ trigger }}"), "v4")
    assert memo._size == rendered_text_cache.OVERHEAD + 23 + 2 * rendered_text_cache.PER_READ


def test_a_value_above_1024_characters_is_compared_by_hash():
    assert _frozen({"a": "x" * 1024}) == (None, ("a", "x" * 1024))
    ((_, hashed),) = _frozen({"a": "x" * 1025})[1:]
    assert len(hashed) == 32 and hashed != _frozen({"a": "y" * 1025})[1][1]
