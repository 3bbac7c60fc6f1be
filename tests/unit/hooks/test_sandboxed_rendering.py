"""The time that a job of a hook has left, and the answers of its children."""

import marshal

import pytest

from templater.hooks import sandboxed_rendering
from templater.hooks.compile_cache import CacheEntry
from templater.hooks.sandboxed_rendering import Job, Run, read_answer
from templater.model.entry import FILE, Entry, TemplateFile
from templater.model.errors import InputError, TemplaterError
from templater.model.hosts import NONE
from templater.model.source import Source
from templater.sandbox.child import ChildFailure


def test_the_time_of_children_that_ended_during_a_job_is_charged_to_the_job(monkeypatch):
    monkeypatch.setattr(sandboxed_rendering, "thread_time", lambda: 100)
    monkeypatch.setattr(sandboxed_rendering, "children_seconds", lambda: 50)
    job = Job(Source("m", b""), {}, None, ("start",), NONE)
    assert job.left() == 8
    monkeypatch.setattr(sandboxed_rendering, "thread_time", lambda: 101)
    monkeypatch.setattr(sandboxed_rendering, "children_seconds", lambda: 53)
    assert job.left() == 4


def job():
    return Job(Source("m", b""), {}, None, ("start",), NONE)


def test_the_answer_of_a_child_has_the_instance_and_the_entries_for_the_cache():
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
def test_an_invalid_answer_of_a_child_is_a_failure(record):
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


def test_without_a_cache_each_run_renders_the_templates_again():
    assert rendered(None) == rendered(None) == ([b"i1 1 -"], False)
    assert rendered(None, description=b"config: {user.a: '1'}\n", name="c9") == ([b"c9 1 -"], False)


def test_an_error_has_its_position_even_if_the_template_is_in_the_cache():
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


def test_a_bug_while_rendering_the_sources_is_raised_with_and_without_a_cache(monkeypatch):
    def broken(*_):
        raise KeyError("x")

    monkeypatch.setattr(sandboxed_rendering, "_renderings", broken)
    for store in (None, Store()):
        with pytest.raises(KeyError):
            rendered(store)


@pytest.mark.parametrize("text", [b"name: [\n", b"config: {user.a: [secret]}\n"])
def test_an_error_about_a_description_does_not_quote_it(text):
    with pytest.raises(TemplaterError) as caught:
        rendered(None, description=text)
    assert caught.value.message.startswith("i.yaml:")
    assert caught.value.message.endswith(": the description of the instance is invalid")
    assert (caught.value.hint, caught.value.notes) == ("templater preview -i FILE shows why", ())


@pytest.mark.parametrize(
    ("name", "kind"), [(b"InputError", InputError), (b"KeyError", TemplaterError), (b"\xff", TemplaterError)]
)
def test_an_error_of_the_child_becomes_a_templater_error_even_if_its_class_is_unknown(name, kind):
    error = sandboxed_rendering.error_read([name, b"m", b"h", b"0", b"note"], lambda name: None)
    assert (type(error), error.message, error.hint, error.notes) == (kind, "m", "h", ("note",))


def test_the_keys_of_the_cache_depend_on_everything_that_determines_the_entries():
    def found(in_child=False, text=b"m", templates=None, description=None, **settings):
        source = None if description is None else Source("web.yaml", description)
        made = Job(Source("m", text), templates or {}, source, (), NONE, **settings)
        return sandboxed_rendering.keys(made, in_child=in_child)

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
def test_without_triggers_the_pending_trigger_of_the_description_runs_before_start(pending, triggers):
    text = (
        "name: c1\n" if pending is None else f"name: c1\nconfig: {{volatile.apply_template: '{pending}'}}\n"
    )
    run = Run(
        Job(Source("m", b"templates: {}\n"), {}, Source("i.yaml", text), (), NONE), None, None, in_child=False
    )
    assert run.finish().triggers == triggers
    run.close()
