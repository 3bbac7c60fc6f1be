"""Laws of the origins that ``explain`` names.

To remove an origin means to remove the key from the layer that was named: from one profile, or from the
instance's own keys. A key of the same name in another layer stays, and shows through.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st

from templater.image.open_image import open_image
from templater.model.entry import FILE, Entry, TemplateFile
from templater.model.hosts import HOSTS
from templater.model.instance import Instance, Profile
from templater.model.render_options import RenderOptions
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata
from templater.planning.decide_changes import plan_of
from templater.planning.plan_image import read_templates
from templater.rendering.origins import VALUE, Explainer, Layers
from templater.rendering.render import render

IMAGES = Path(__file__).resolve().parent.parent.parent / "sample-images"
LAYERS = ("default", "web", "local")
#: The number of examples of each law. Before a release, 1250 is a good number.
EXAMPLES = int(os.environ.get("TEMPLATER_EXAMPLES", "300"))


def instance_of(config: dict[str, dict[str, str]]) -> Instance:
    """Return an instance with two profiles. ``config`` has the keys of each layer."""
    profiles = tuple(Profile(name, config[name]) for name in LAYERS[:2])
    return Instance("w1", profiles=profiles, config=config["local"])


class Explanation:
    """The contents of an image's files, with the layer and key of each origin that their explanation names."""

    def __init__(self, metadata, templates, instance, host="incus", triggers=("create",)) -> None:
        options = RenderOptions(HOSTS[host], clock=1.0, seed=1)
        renderings = render(metadata, templates, instance, triggers, options)
        self.plan = plan_of(metadata, instance, renderings, host=HOSTS[host], triggers=triggers)
        self.contents = [change.content for change in self.plan.changes]
        self.layers = Layers(instance, instance, metadata)
        self.templates, self.options = templates, options

    def parts(self) -> Iterator:
        for change in self.plan.changes:
            lines = Explainer(self.templates, self.layers, self.options).lines(change)
            assert lines is not None
            text = "\n".join("".join(part.text for part in line.parts) for line in lines)
            content = change.content.decode("utf-8", "surrogateescape")
            assert text in (content, content.removesuffix("\n"))
            for line in lines:
                yield from line.parts

    def named(self) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
        """Return the origins of values, and all origins that are named, including those of conditions."""
        values, all_named = set(), set()
        for part in self.parts():
            for origin in (*part.origins, *part.because):
                found = self.places(origin)
                all_named |= found
                if part.kind == VALUE and origin in part.origins:
                    values |= found
        return values, all_named

    def places(self, origin) -> set[tuple[str, str]]:
        if origin.kind == "several":
            config = self.layers.config
            return set().union(*(self.places(self.layers.of_key(key)) for key in config)) if config else set()
        name = origin.name.rpartition(", from ")[2]
        if origin.kind == "profile":
            return {(origin.detail, name)}
        return {("local", name)} if origin.kind == "local" else set()


# --- the templates of cloud-init images

KEYS = (
    "cloud-init.network-config", "cloud-init.user-data", "cloud-init.vendor-data", "user.meta-data",
    "user.network-config", "user.network_mode", "user.user-data", "user.vendor-data", "user.unread",
    "limits.cpu",
)  # fmt: skip


@st.composite
def cloud_configs(draw):
    """Draw the keys of each layer. No two values are equal, so a value identifies its layer."""
    config = {}
    for layer in LAYERS:
        keys = draw(st.sets(st.sampled_from(KEYS)))
        config[layer] = {key: f"#cloud-config\n{layer}: {key}" for key in sorted(keys)}
        if "user.network_mode" in keys and draw(st.booleans()):
            config[layer]["user.network_mode"] = "link-local"
    return config


def without(config, layer, key):
    return {
        name: {k: v for k, v in keys.items() if (name, k) != (layer, key)} for name, keys in config.items()
    }


def check_cloud_init(image, config):
    opened = open_image(str(IMAGES / image))
    metadata = read_metadata(opened.read_metadata())
    templates = read_templates(opened, metadata)
    explanation = Explanation(metadata, templates, instance_of(config))
    values, named = explanation.named()
    for layer in LAYERS:
        for key in config[layer]:
            changed = Explanation(metadata, templates, instance_of(without(config, layer, key)))
            if (layer, key) in values:
                assert changed.contents != explanation.contents, (layer, key)
            elif (layer, key) not in named:
                assert changed.contents == explanation.contents, (layer, key)


CLOUD_IMAGES = pytest.mark.parametrize("image", ["debian-cloud", "ubuntu-2016"])


@pytest.mark.slow
@CLOUD_IMAGES
@settings(deadline=None, max_examples=5)
@given(config=cloud_configs())
def test_removing_an_explained_key_changes_the_cloud_init_output(image, config):
    """Removing the origin of a value changes the output, and removing a key that is not named does not.

    A condition may name a key whose removal changes nothing, such as ``user.network_mode`` with a value that
    selects the same branch as no value.
    """
    check_cloud_init(image, config)


@CLOUD_IMAGES
@pytest.mark.law
@settings(deadline=None, max_examples=EXAMPLES // 2)
@given(config=cloud_configs())
def test_removing_an_explained_key_changes_output_in_many_examples(image, config):
    check_cloud_init(image, config)


# --- any template

NAMES = ("a", "b", "c")


ATOMS = [
    *(f'config_get("user.{name}", "-")' for name in NAMES), *(f'config["user.{name}"]' for name in NAMES),
    *(f'config_get("user.{name}", config["user.{other}"])' for name in NAMES for other in NAMES),
    "x", "y", "v", "k", "instance.name", "properties.p", '"t"', "config|length", "m(x)", "trigger",
    "instance.privileged", "forloop.Counter", "config",
]  # fmt: skip
FILTERS = [
    "", "", "|upper", '|default:"d"', "|default:x", '|default:config["user.a"]|lower', "|first", '|cut:"o"',
    '|default_if_none:config["user.b"]',
]  # fmt: skip
LEAVES = [
    "text\n", "\n", "-", "{{ E }}", "{{ E }}", "{{ config[E] }}", "{% set x = E %}", "{% set y = E %}",
    "{% set x = config[E] %}", "{% firstof E E %}", "{% cycle E E %}",
]  # fmt: skip
BRANCHES = [
    "{% if C %}B{% endif %}", "{% if C %}B{% elif C %}B{% else %}B{% endif %}",
    "{% for v in E %}B{% empty %}B{% endfor %}", "{% for k, v in config %}B{% endfor %}",
    "{% with x=E y=x %}B{% endwith %}", "{% filter upper %}B{% endfilter %}",
    "{% spaceless %}B{% endspaceless %}", "{% ifchanged %}B{% else %}B{% endifchanged %}",
    '{% if C %}{% set x = "s" %}{% endif %}', '{% if C %}{% set y = x %}{% else %}B{% endif %}{{ x }}',
    "{% ifchanged E %}B{% endifchanged %}", "{% ifequal E E %}B{% endifequal %}",
]  # fmt: skip
CONDITIONS = ["E", "E", "E == E", "E != E", "E and E", "E or E", "E in E", "not E"]


@st.composite
def bodies(draw, depth=3):
    """Draw statements. The letters E, C and B of a pattern stand for an expression, a condition and a body."""

    def fill(pattern):
        found = ""
        for word in re.split(r"\b([ECB])\b", pattern.replace("%}B{%", "%} B {%")):
            if word == "E":
                word = draw(st.sampled_from(ATOMS)) + draw(st.sampled_from(FILTERS))
            elif word == "C":
                word = fill(draw(st.sampled_from(CONDITIONS)))
            elif word == "B":
                word = draw(bodies(depth - 1))
            found += word
        return found.replace("%} ", "%}").replace(" {%", "{%")

    patterns = LEAVES + BRANCHES if depth else LEAVES
    return "".join(fill(draw(st.sampled_from(patterns))) for _ in range(draw(st.integers(0, 3))))


texts = st.tuples(bodies(1), bodies(), bodies()).map(
    lambda p: f"{{% macro m(z) %}}{p[0]}{{{{ z }}}}{{% endmacro %}}{p[1]}{p[2]}"
)
layer = st.dictionaries(
    st.sampled_from([f"user.{name}" for name in NAMES] + ["security.privileged", "a"]),
    st.sampled_from(["", "one", "two", "user.a", "user.b", "true"]),
)
configs = st.fixed_dictionaries(dict.fromkeys(LAYERS, layer))
METADATA = """
templates:
  /etc/x:
    when: [create]
    template: x.tpl
    properties: {p: property}
"""


def explained(text, config):
    data = text.encode()
    templates = {"x.tpl": TemplateFile(Entry(FILE, size=len(data)), data)}
    return Explanation(
        read_metadata(Source("metadata.yaml", METADATA)), templates, instance_of(config), "incus"
    )


def check_any_template(text, config):
    explanation = explained(text, config)
    assume(explanation.contents[0] is not None)
    _, named = explanation.named()
    for name in LAYERS:
        for key in config[name]:
            if (name, key) not in named:
                event("a key that is not named")
                changed = explained(text, without(config, name, key))
                # The template can fail without a key, even if it prints nothing that depends on the key.
                assert changed.contents in (explanation.contents, [None]), (name, key)


@pytest.mark.slow
@example("{% for k, v in config %}\n{% endfor %}", {"default": {}, "web": {}, "local": {"user.a": ""}})
@settings(deadline=None, max_examples=15)
@given(texts, configs)
def test_removal_of_an_unexplained_key_does_not_change_the_text(text, config):
    check_any_template(text, config)


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.law
@settings(deadline=None, max_examples=EXAMPLES)
@given(text=texts, config=configs)
def test_removing_unexplained_keys_leaves_random_texts_unchanged(quarter, text, config):
    """The four tests run on all processors."""
    check_any_template(text, config)
