"""The laws of ``watch``: after any edits, what it has kept equals a fresh look at the same files."""

import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from templater.cli import options
from templater.cli.commands.watch import WatchedImage
from templater.limit_option import Given
from templater.model.entry import FILE, Entry, TemplateFile
from templater.model.errors import TemplaterError
from templater.model.hosts import HOSTS
from templater.model.instance import Instance
from templater.model.metadata import Metadata, Rule
from templater.model.render_options import RenderOptions
from templater.pongo2.render_state import Limits
from templater.rendering.render import render
from templater.rendering.rendered_text_cache import Memo
from templater.reporting.json_data import plan_data

TEMPLATES = (
    "fixed\n", "", "{{ instance.name }}\n", '{{ config_get("user.a", "none") }}\n', "{{ config }}\n",
    '{{ config_get("user."|add:properties.key, "none") }}\n', "{{ trigger }} {{ path }}\n",
    "{% for d in devices.Sorted() %}{{ d.Name }} {{ d.Config.type }}\n{% endfor %}",
    "{% for key, value in config %}{{ key }}={{ value }}\n{% endfor %}", "{{ properties.key }}\n",
    '{% if config_get("user.a", "") == "1" %}{{ properties }}{% else %}{{ container.type }}{% endif %}\n',
    "{% set config = instance %}{{ config.name }}\n", '{% include "base.tpl" %}\n', '{% extends "base.tpl" %}',
    "{{ instnace.name }}\n", "{{ instance.name|nosuch }}\n", "{{ instance.name.x }}\n", "{% if %}", "{{ path",
    "#cloud-config\nhostname: {{ instance.name }}\n", '{% now "2006" %}{{ "aa"|random }}\n',
    "{% for i in '12345678' %}{% for j in '12345678' %}{{ j }}{% endfor %}{% endfor %}\n",
    '{{ config["volatile.apply_template"] }}{{ pongo2.version }}\n',
    '{{ "a" + "b" }}\n',
)  # fmt: skip
RULES = (
    "{template: a.tpl, when: [create, start]}", "{template: a.tpl, when: [start], properties: {key: a}}",
    "{template: b.tpl, when: [create], properties: {key: b}}", "{template: a.tpl, when: [copy]}",
    "{template: b.tpl, when: [create, start], create_only: true, mode: '0600'}",
    "{template: missing.tpl, when: [create]}", "{template: b.tpl, when: [start], uid: x}", "null", "[",
)  # fmt: skip
INSTANCES = (
    "name: w1\n", "name: w2\n", "name: w1\ntype: virtual-machine\n", "name: w1\nconfig: {user.a: '1', user.b: '2'}\n",
    "name: w1\nconfig: {user.a: '2'}\n", "name: w1\nconfig: {user.b: '1'}\n", "name: [\n",
    "name: w1\ndevices: {eth0: {type: nic}, root: {type: disk, path: /}}\n", "name: w1\ndevices: {eth0: {type: disk}}\n",
    "name: w1\nconfig: {volatile.apply_template: copy}\n", "name: w1\nconfig: {user.a: '" + "x" * 5000 + "'}\n",
)  # fmt: skip
PROFILES = (
    "config: {user.a: '3'}\n",
    "config: {user.b: '3'}\n",
    "devices: {eth1: {type: nic}}\n",
    "config: [\n",
)
TESTS = (
    "tests:\n- name: one\n  expect: {/etc/a: {contains: w1}}\n",
    "tests:\n- name: two\n  matrix: {host: [incus, lxd]}\n  config: {user.a: '1'}\n  expect: {/etc/b: {lacks: '9'}}\n",
    "tests:\n- name: three\n  steps:\n  - start\n  - stop\n  - step: rename=w9\n  - step: start\n    expect: {/etc/a: {contains: w9}}\n",
    "tests: [\n",
)  # fmt: skip
PATHS = ("/etc/a", "/etc/b", "/etc/a/c")
metadata = st.lists(st.sampled_from(PATHS), max_size=3, unique=True).flatmap(
    lambda paths: st.tuples(*(st.tuples(st.just(path), st.sampled_from(RULES)) for path in paths))
)


def written(name, texts):
    return st.tuples(st.just("write"), st.just(name), st.sampled_from(texts))


def removed(*names):
    return st.tuples(st.just("remove"), st.sampled_from(names), st.none())


EDITS = st.one_of(
    *(written(f"image/templates/{name}.tpl", TEMPLATES) for name in ("a", "b", "base")),
    st.tuples(st.just("rules"), st.just("image/metadata.yaml"), metadata),
    written("web1.yaml", INSTANCES),
    written("profile.yaml", PROFILES),
    written("image/tests/all.yaml", TESTS),
    written("rootfs/etc/a", ("fixed\n", "w1\n", "")),
    written("rootfs/etc/b", ("fixed\n", "2026aa\n")),
    st.tuples(st.just("link"), st.just("rootfs/etc/a"), st.sampled_from(("b", "/etc/nothing", "/"))),
    removed(
        "image/templates/a.tpl", "image/templates/b.tpl", "image/templates", "image/metadata.yaml", "web1.yaml",
        "rootfs/etc/a", "rootfs/etc/b", "image/tests/all.yaml", "image",
    ),
    st.tuples(
        st.just("limit"), st.sampled_from(("output", "steps", "source")), st.sampled_from((None, 3, 20, 100))
    ),
    st.tuples(st.just("host"), st.sampled_from(("incus", "lxd", "incus-debian", "none")), st.none()),
)  # fmt: skip
START = (
    ("rules", "image/metadata.yaml", (("/etc/a", RULES[0]), ("/etc/b", RULES[2]))),
    ("write", "image/templates/a.tpl", TEMPLATES[2]),
    ("write", "image/templates/b.tpl", TEMPLATES[3]),
    ("write", "image/tests/all.yaml", TESTS[0]),
    ("write", "web1.yaml", INSTANCES[0]),
    ("write", "profile.yaml", PROFILES[0]),
    ("write", "rootfs/etc/a", "old\n"),
)


class Edited:
    """A folder with an image and all files that a look at it reads, and the request of the look."""

    def __init__(self, folder: Path, *, with_rootfs: bool) -> None:
        self.folder = folder
        described = options.Description(
            f"{folder}/web1.yaml", None, None, (f"{folder}/profile.yaml",), (), (), None
        )
        self.request = options.Request(
            f"{folder}/image", described, (), f"{folder}/rootfs" if with_rootfs else None, HOSTS["incus"],
            None, Given(), as_json=False,
        )  # fmt: skip

    def edit(self, kind, name, value):
        if kind == "host":
            self.request = self.request._replace(host=HOSTS[name], host_given=True)
            return
        if kind == "limit":
            limits = Given()
            limits.rendering = {} if value is None else {name: value}
            self.request = self.request._replace(limits=limits)
            return
        path = self.folder / name
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)
        if kind != "remove":
            path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "rules":
            rules = "".join(f"  {target}: {rule}\n" for target, rule in value)
            path.write_text(f"architecture: x86_64\ncreation_date: 1\ntemplates:\n{rules}")
        elif kind == "write":
            path.write_text(value)
        elif kind == "link":
            path.symlink_to(value)


class PlannedImage(WatchedImage):
    """A watched image that also has the plans of its last look as JSON."""

    plans = None

    def _tell_readers(self, found, plans):
        super()._tell_readers(found, plans)
        self.plans = [plan_data(plan) for plan in plans]


def state(image, request):
    """Look at an image. Return everything that the look has found, or its error."""
    image.request = request
    image.plans = None
    error = ""
    try:
        image.look()
    except TemplaterError as found:
        error = found.explain()
    except OSError as found:
        error = str(found)
    shown = [each._now for each in (image._files, image._findings, image._failures)]
    said = {text for text in image._said if text.startswith(("note: ", "warning: "))}
    return error, image.plans, shown, image._bodies._now, image._config, said


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.lists(EDITS, min_size=1, max_size=8), st.booleans(), st.booleans())
def test_a_watched_image_equals_a_newly_opened_image_after_any_edits(edits, checked, with_rootfs):
    with tempfile.TemporaryDirectory() as folder:
        edited = Edited(Path(folder), with_rootfs=with_rootfs)
        for edit in START:
            edited.edit(*edit)
        kept = PlannedImage(edited.request, checked=checked, tested=checked)
        state(kept, edited.request)
        for edit in edits:
            edited.edit(*edit)
            fresh = PlannedImage(edited.request, checked=checked, tested=checked)
            assert state(kept, edited.request) == state(fresh, edited.request), edit


#: for each input of a render, the values that it can have
INPUTS = {
    "config": ({}, {"user.a": "1"}, {"user.a": "2", "user.b": "1"}, {"user.b": "1", "user.a": "2"}),
    "devices": (
        {},
        {"eth0": {"type": "nic", "nested": "x"}, "eth1": {"type": "nic"}},
        {"eth0": {"type": "disk"}},
    ),
    "name": ("w1", "w2"),
    "type": ("container", "virtual-machine"),
    "properties": ({}, {"key": "a"}, {"key": "b"}),
    "path": ("/a", "/b"),
    "trigger": ("create", "copy"),
    "host": tuple(HOSTS),
    "steps": (3_000_000, 20),
    "template": TEMPLATES,
}
SAME = ("config", "devices", "name", "type")


def outcome(inputs, memo=None):
    rule = Rule(inputs["path"], "a.tpl", (inputs["trigger"],), properties=inputs["properties"])
    templates = {"a.tpl": TemplateFile(Entry(FILE), inputs["template"].encode())}
    options = RenderOptions(HOSTS[inputs["host"]], limits=Limits(steps=inputs["steps"]))
    instance = Instance("c1").replace(**{name: inputs[name] for name in SAME})
    compiled = templates if memo is None else memo.compiled(templates, options)
    (found,) = render(Metadata(rules=(rule,)), compiled, instance, rule.when, options)
    return found.content, found.error and found.error.explain()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_cached_and_new_renderings_are_equal_after_random_changes(seed):
    choose = random.Random(seed)
    inputs, memo = {name: values[0] for name, values in INPUTS.items()}, Memo()
    for number in range(200):
        name = choose.choice(list(INPUTS))
        inputs[name] = choose.choice(INPUTS[name])
        if name == "template":
            inputs[name] += choose.choice(TEMPLATES)
        if number % 3 == 0:
            memo.begin()
        assert outcome(inputs, memo) == outcome(inputs), (name, inputs)
