"""The time that a job of a hook has left, and the answers of its children."""

import marshal

import pytest

from templater import pongo2
from templater.hooks import sandboxed_rendering
from templater.hooks.compile_cache import CacheEntry
from templater.hooks.sandboxed_rendering import COMPILE, Job, Run, read_answer
from templater.model.entry import FILE, Entry, TemplateFile
from templater.model.errors import InputError, LimitError, TemplaterError
from templater.model.hosts import NONE
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata
from templater.pongo2 import render_state
from templater.rendering import render as render_module
from templater.sandbox import child
from templater.sandbox.child import Bounds, ChildFailure


def test_the_processor_time_limit_of_a_job_includes_ended_child_processes(monkeypatch):
    monkeypatch.setattr(sandboxed_rendering, "thread_time", lambda: 100)
    monkeypatch.setattr(sandboxed_rendering, "children_seconds", lambda: 50)
    job = Job(Source("m", b""), {}, None, ("start",), NONE)
    assert job.left() == 8
    monkeypatch.setattr(sandboxed_rendering, "thread_time", lambda: 101)
    monkeypatch.setattr(sandboxed_rendering, "children_seconds", lambda: 53)
    assert job.left() == 4


def job():
    return Job(Source("m", b""), {}, None, ("start",), NONE)


def test_the_answer_contains_the_instance_and_the_cache_entries():
    answer = read_answer(job(), [
        [b"instance", b"c1", b"container", b"create", b"start"], [b"keys", b"a\0x\ny\0b\0"],
        [b"keep", b"image", b"templater.pongo2.a os", b"code"],
    ])  # fmt: skip
    assert (answer.instance.name, answer.instance.type) == ("c1", "container")
    assert (answer.triggers, answer.keys) == (("create", "start"), {"a": ("x", "y"), "b": ()})
    kept = answer.kept[sandboxed_rendering.IMAGE]
    assert (list(answer.kept), kept.modules, kept.payload) == (
        [sandboxed_rendering.IMAGE], ("templater.pongo2.a",), b"code",
    )  # fmt: skip


@pytest.mark.parametrize(
    "record",
    [
        (b"odd",), (b"instance",), (b"text", b"0", b"start", b"x"), (b"text", b"x", b"start", b""), (b"text", b"0"),
        (b"keep", b"other", b"", b""), (b"keep", b"image", b"\xff", b""), (b"rule",), (b"fail", b"0"),
    ],
)  # fmt: skip
def test_an_invalid_answer_of_the_sandboxed_process_is_a_failure(record):
    with pytest.raises(ChildFailure) as caught:
        read_answer(job(), [list(record)])
    assert caught.value.message == "the sandboxed process sent an invalid answer"
    assert caught.value.hint == "please report this"


class Store:
    """A cache in memory."""

    def __init__(self):
        self.entries = {}
        self.saved = []

    def load(self, name, key):
        return self.entries.get((name, key))

    def save(self, name, key, entry):
        self.entries[name, key] = entry
        self.saved.append(name)

    def close(self):
        pass


TEXT = b"{{ container.name }} {{ config_get('user.a', '-') }} {{ config_get('user.b', '-') }}"


def rendered(store, text=TEXT, description=b"name: i1\nconfig: {user.a: '1'}\n", **settings):
    """Render in this process, and return the contents or errors, and whether the cache had all entries."""
    metadata = b"templates: {/a: {when: [start], template: a.tpl}}\n"
    source = None if description is None else Source("i.yaml", description)
    templates = {"a.tpl": TemplateFile(Entry(FILE), text)}
    made = Job(Source("image/metadata.yaml", metadata), templates, source, ("start",), NONE, **settings)
    run = Run(made, store, None, in_child=False)
    was_warm = run.warm
    try:
        answer = run.finish()
    finally:
        run.close()
    return [each.content if each.error is None else str(each.error) for each in answer.renderings], was_warm


def test_the_second_run_gives_the_same_files_from_the_cache():
    store = Store()
    assert rendered(store) == ([b"i1 1 -"], False)
    assert store.saved == ["image", "instance"] or store.saved == ["instance", "image"]
    assert rendered(store) == ([b"i1 1 -"], True)
    assert rendered(store, config={"user.b": "2"}) == ([b"i1 1 2"], True)
    assert len(store.saved) == 2
    assert rendered(store, name="c9", config={"user.a": "3"}) == ([b"c9 3 -"], False)
    assert rendered(store, name="c9") == ([b"c9 1 -"], True)
    assert rendered(store, description=None, name="c9") == ([b"c9 - -"], True)


def test_each_run_renders_the_templates_again_if_no_cache_is_used():
    assert rendered(None) == rendered(None) == ([b"i1 1 -"], False)
    assert rendered(None, description=b"config: {user.a: '1'}\n", name="c9") == ([b"c9 1 -"], False)


def test_an_error_in_a_cached_template_has_a_position():
    store, text = Store(), b"a\n{{ 1|add:2/0 }}"
    for is_warm in (False, True):
        ((error,), was_warm) = rendered(store, text)
        assert error.startswith("templates/a.tpl:2:") and "divide by zero" in error
        assert was_warm is is_warm


@pytest.mark.parametrize("name", ["image", "instance"])
@pytest.mark.parametrize("payload", [b"", b"nonsense", marshal.dumps(5), marshal.dumps((1, 2))])
def test_a_damaged_cache_entry_is_replaced(name, payload):
    store = Store()
    rendered(store)
    for key in store.entries:
        if key[0] == name:
            store.entries[key] = CacheEntry((), payload)
    store.saved.clear()
    assert rendered(store) == ([b"i1 1 -"], True)
    assert name in store.saved
    assert rendered(store) == ([b"i1 1 -"], True)


def test_an_unexpected_exception_is_raised_even_with_a_cache(monkeypatch):
    def broken(*_):
        raise KeyError("x")

    monkeypatch.setattr(sandboxed_rendering, "_renderings", broken)
    for store in (None, Store()):
        with pytest.raises(KeyError):
            rendered(store)


@pytest.mark.parametrize("text", [b"name: [\n", b"config: {user.a: [secret]}\n"])
def test_an_error_about_a_description_does_not_quote_the_description(text):
    with pytest.raises(TemplaterError) as caught:
        rendered(None, description=text)
    assert caught.value.message.startswith("i.yaml:")
    assert caught.value.message.endswith(": the description of the instance is invalid")
    assert (caught.value.hint, caught.value.notes) == ("templater preview -i FILE shows why", ())


@pytest.mark.parametrize(
    ("name", "kind"), [(b"InputError", InputError), (b"KeyError", TemplaterError), (b"\xff", TemplaterError)]
)
def test_errors_of_any_class_from_the_child_process_become_templater_errors(name, kind):
    error = sandboxed_rendering.error_read([name, b"m", b"h", b"0", b"note"], lambda name: None)
    assert (type(error), error.message, error.hint, error.notes) == (kind, "m", "h", ("note",))


def test_the_cache_key_depends_on_each_input_of_the_cached_result():
    def found(in_child=False, text=b"m", templates=None, description=None, **settings):
        source = None if description is None else Source("web.yaml", description)
        made = Job(Source("m", text), templates or {}, source, (), NONE, **settings)
        return sandboxed_rendering.cache_keys(made, in_child=in_child)

    files = [TemplateFile(Entry(FILE), data) for data in (None, b"", b"x")]
    images = [
        found(), found(True), found(text=b"n"), found(dialect="v4"),
        *(found(templates={"a": file}) for file in files), found(templates={"b": files[2]}),
        found(templates={"\udcff": files[2]}), found(templates={"a": files[2], "b": files[2]}),
    ]  # fmt: skip
    assert all(list(each) == ["image"] for each in images)
    assert len({each["image"] for each in images}) == len(images)
    described = [
        found(description=b"a: b"), found(description=b"a: c"), found(description=b"a: b", name="c1"),
        found(description=b"a: b", text=b"n"), found(True, description=b"a: b"),
    ]  # fmt: skip
    assert len({each["instance"] for each in described}) == len(described)
    assert found(name="c1") == found() == found(config={"user.a": "1"})
    assert found(description=b"a: b", name="c1") == found(description=b"a: b", name="c2")


@pytest.mark.parametrize(
    ("pending", "triggers"), [(None, ("start",)), ("", ("start",)), ("copy", ("copy", "start"))]
)
def test_the_pending_trigger_precedes_the_start_trigger_by_default(pending, triggers):
    text = (
        "name: c1\n" if pending is None else f"name: c1\nconfig: {{volatile.apply_template: '{pending}'}}\n"
    )
    run = Run(
        Job(Source("m", b"templates: {}\n"), {}, Source("i.yaml", text), (), NONE), None, None, in_child=False
    )
    assert run.finish().triggers == triggers
    run.close()


def check_time_is_over(trigger, store):
    """Check that the total time limit ends a run with this trigger and this cache."""
    metadata = Source("m", b"templates: {/a: {when: [start], template: a.tpl}}\n")
    templates = {"a.tpl": TemplateFile(Entry(FILE), b"x")}
    run = Run(Job(metadata, templates, None, (trigger,), NONE), store, None, in_child=False)
    with pytest.raises(LimitError, match=r"^rendering all templates together takes longer than 8 seconds$"):
        run.finish()
    run.close()


def test_the_total_time_limit_ends_the_compilation_for_the_cache(monkeypatch):
    monkeypatch.setattr(render_state, "thread_time", lambda: 1e9)
    check_time_is_over(COMPILE, Store())


def test_the_time_limit_ends_the_search_for_configuration_keys(monkeypatch):
    render = sandboxed_rendering._renderings

    def render_slowly(*given):
        renderings = render(*given)
        monkeypatch.setattr(render_state, "thread_time", lambda: 1e9)
        return renderings

    monkeypatch.setattr(sandboxed_rendering, "_renderings", render_slowly)
    check_time_is_over("start", None)


def answered(metadata, store=None, description=None, triggers=("start",), **templates):
    """Return the answer of a run in this process. ``a="…"`` is the template ``a``."""
    files = {name: TemplateFile(Entry(FILE), text.encode()) for name, text in templates.items()}
    source = None if description is None else Source("i.yaml", description)
    run = Run(Job(Source("m", metadata), files, source, triggers, NONE), store, None, in_child=False)
    try:
        return run.finish()
    finally:
        run.close()


def on_start(*names):
    """Return metadata.yaml with a rule for each of these templates."""
    return "templates:\n" + "".join(f"  /{name}: {{when: [start], template: {name}}}\n" for name in names)


@pytest.mark.parametrize("bad", [{}, {"b": "{% if %}"}, {"b": "{% if %}", "c": "{% if %}"}])
def test_an_image_is_cached_only_if_all_its_templates_compile(bad, monkeypatch):
    compiled = []
    compile_template = pongo2.compile

    def counted(source, *given, **named):
        compiled.append(source.text)
        return compile_template(source, *given, **named)

    monkeypatch.setattr(pongo2, "compile", counted)
    store = Store()
    # the rules of bad templates are not due, so only the cache needs these templates
    metadata = on_start("a", "b", "c").replace("/b: {when: [start]", "/b: {when: [create]")
    answer = answered(metadata.replace("/c: {when: [start]", "/c: {when: [create]"), store, a="A", **bad)
    assert [each.content for each in answer.renderings] == [b"A"]
    assert store.saved == []
    assert sorted(compiled) == sorted({"A", *bad.values()}), "equal templates are compiled only once"


def test_a_missing_template_never_gets_the_text_of_another_template():
    answer = answered(on_start("a", "b", "c"), Store(), a="A", c="C")
    assert [each.content for each in answer.renderings] == [b"A", None, b"C"]


def test_a_run_with_cached_templates_compiles_nothing(
    monkeypatch,
):
    store, templates = Store(), {"a": TEXT.decode(), "b": "{{ 'x'|upper }}", "c": TEXT.decode()}
    metadata = on_start("a", "b", "c")
    keys = answered(metadata, **templates).keys
    assert keys == {"a": ("user.a", "user.b"), "b": (), "c": ("user.a", "user.b")}
    assert answered(metadata, store, **templates).keys == keys
    (entry,) = store.entries.values()
    assert "templater.pongo2.filters.text" in entry.modules
    monkeypatch.setattr(pongo2, "compile", None)
    answer = answered(metadata, store, **templates)
    assert answer.keys == keys
    assert [each.content for each in answer.renderings] == [b"c1 - -", b"X", b"c1 - -"]


def test_a_successful_run_renders_only_once(monkeypatch):
    runs = []
    render = render_module.render
    monkeypatch.setattr(
        render_module, "render", lambda *given, **named: runs.append(1) or render(*given, **named)
    )
    answered(on_start("a"), Store(), a="A")
    assert len(runs) == 1


def test_rules_from_the_sandboxed_process_have_all_fields_for_a_plan():
    text = "templates:\n  /null:\n  /all: {when: [start], create_only: true, template: a, uid: 1, gid: 2, mode: '0600'}\n"
    wanted = read_metadata(Source("m", text)).rules
    found = answered(text, a="A").metadata.rules
    for name in ("path", "template", "create_only", "uid", "gid", "mode", "null"):
        assert [getattr(rule, name) for rule in found] == [getattr(rule, name) for rule in wanted]
    for rule, original in zip(found, wanted, strict=True):
        places = {name: span.place for name, span in original.spans.items() if "[" not in name}
        assert {name: span.place for name, span in rule.spans.items()} == places


def test_an_error_about_a_description_contains_the_exceeded_limit():
    with pytest.raises(LimitError, match="nested more than 64 levels deep"):
        answered(on_start("a"), description="config: " + "[" * 70, a="A")


def test_an_error_can_quote_only_metadata_yaml_or_a_readable_template():
    files = {"a": TemplateFile(Entry(FILE), b"A"), "b": TemplateFile(Entry(FILE), None)}
    made = Job(Source("m", b"M"), files, Source("i.yaml", b"I"), (), NONE)
    assert made.source("m").text == "M"
    assert made.source("templates/a").text == "A"
    assert made.source("templates/a") is made.source("templates/a"), "each copy of a text needs memory"
    assert [made.source(name) for name in ("templates/b", "templates/c", "i.yaml")] == [None, None, None]


@pytest.mark.parametrize(("cpu", "given"), [(5, 5), (100, 9)])
def test_a_child_gets_only_the_jobs_remaining_processor_time(cpu, given, monkeypatch):
    monkeypatch.setattr(sandboxed_rendering, "thread_time", lambda: 100)
    monkeypatch.setattr(sandboxed_rendering, "children_seconds", lambda: 50)
    monkeypatch.setattr(child, "start", lambda prepare, work, bounds: (work, bounds))
    made = job()
    work, bounds = Run(made, None, Bounds(cpu, 5.0, 6, 7), in_child=True).child
    assert (bounds.cpu, bounds.wall, bounds.memory, bounds.output) == (given, 5.0, 6, 7)
    deadlines = []
    monkeypatch.setattr(sandboxed_rendering, "render", lambda job, send: deadlines.append(job.deadline))
    work(None)
    assert deadlines == [8], "the clock of a child begins at zero"


def test_processor_time_of_children_includes_user_and_system_time(monkeypatch):
    monkeypatch.setattr(sandboxed_rendering.os, "times", lambda: (1.0, 2.0, 4.0, 8.0, 16.0))
    assert sandboxed_rendering.children_seconds() == 12.0


def test_the_error_of_a_rule_has_position_and_note():
    (rendering,) = answered(on_start("a"), a="a\n{{ 1|add:2/0 }}").renderings
    assert rendering.error.span.text == "1"
    assert rendering.error.notes == ("in the rule for '/a' at m:2:3, trigger start",)
