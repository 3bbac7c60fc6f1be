"""Explanations of rendered files: their lines are those of the file, and origins name the right layer."""

import json

import pytest

from templater.image.open_image import open_image
from templater.instances.description_file import read_instance
from templater.model.entry import FILE, Entry, TemplateFile
from templater.model.hosts import HOSTS
from templater.model.instance import Instance, Profile
from templater.model.metadata import Metadata, Rule
from templater.model.render_options import RenderOptions
from templater.model.source import Source
from templater.planning.decide_changes import FAILED
from templater.planning.plan_image import plan, plan_image, read_templates
from templater.rendering.origins import NOTHING, Explainer, Layers, Origin, keys_read, readings
from templater.rendering.render import render
from tests.golden.record import CASES, IMAGES, TRIGGERS

RULE = Rule("/etc/x", "x.tpl", ("create",), properties={"p": "1"})


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.image}-{case.name}")
@pytest.mark.parametrize("dialect", [pytest.param("v4", marks=pytest.mark.slow), "v6.1"])
def test_an_explanation_has_the_same_lines_as_the_rendered_file(case, dialect):
    image, instance = open_image(str(IMAGES / case.image)), case.read()
    options = RenderOptions(HOSTS["incus"], dialect, clock=1.0, seed=1)
    for trigger in TRIGGERS:
        found = plan(image, instance, triggers=(trigger,), dialect=dialect, clock=1.0, seed=1)
        layers = Layers(instance, instance, found.metadata)
        for change in found.changes:
            lines = Explainer(read_templates(image, found.metadata), layers, options).lines(change)
            if change.content is None:
                assert lines is None
                continue
            assert lines is not None, change.path
            text = "\n".join(line.text for line in lines)
            content = change.content.decode("utf-8", "surrogateescape")
            assert text in (content, content.removesuffix("\n"))
            template = read_templates(image, found.metadata)[change.rule.template].data.decode()
            for line in lines:
                for part in line.parts:
                    if part.kind == "text":
                        where = template.split("\n")[part.line - 1][part.column - 1 :]
                        assert where.startswith(part.text)


def origin(instance, *name, made=None, metadata=None, **options):
    layers = Layers(instance, made or instance, metadata or Metadata(), **options)
    return layers.origin(name, RULE)[1:3]


PROFILES = (
    Profile("default", {"user.a": "1", "user.b": "1"}, {"eth0": {"type": "nic", "name": "eth0"}}),
    Profile("web", {"user.b": "2"}, {"www": {"type": "disk"}}),
)


def test_configuration_keys_have_the_origin_of_the_winning_layer():
    instance = Instance(profiles=PROFILES, config={"user.c": "3", "user.a": "local"})
    assert origin(instance, "config", "user.a") == ("local", "")
    assert origin(instance, "config", "user.b") == ("profile", "web")
    assert origin(instance, "config", "user.c", options={"user.c"}) == ("local", "-c")
    assert origin(instance, "config", "user.d") == ("undefined", "")
    assert origin(instance, "config")[0] == "several"


def test_a_device_has_the_origin_of_the_layer_that_takes_precedence():
    instance = Instance(profiles=PROFILES, devices={"www": {"type": "disk", "path": "/"}})
    assert origin(instance, "devices", "eth0", "name") == ("profile", "default")
    assert origin(instance, "devices", "eth0", "mtu") == ("undefined", "")
    assert origin(instance, "devices", "www") == ("local", "")
    assert origin(instance, "devices", "www", device_options={"www"}) == ("local", "-d")
    assert origin(instance, "devices", "eth1", "name") == ("undefined", "")


def test_a_method_call_on_devices_counts_as_reading_the_whole_map():
    layers = Layers(Instance(profiles=PROFILES), Instance(profiles=PROFILES), Metadata())
    assert layers.origin(("devices", "Sorted"), RULE)[:2] == ("all devices", "several")
    assert layers.origin(("devices", "eth0", "Clone"), RULE)[:2] == ("devices.eth0", "profile")
    named = Instance(devices={"Sorted": {"type": "nic"}})
    assert Layers(named, named, Metadata()).origin(("devices", "Sorted"), RULE)[:2] == (
        "devices.Sorted",
        "local",
    )


def test_properties_and_daemon_values_have_an_origin():
    assert origin(Instance(), "properties", "p")[0] == "property"
    assert origin(Instance(), "properties", "q")[0] == "undefined"
    assert origin(Instance(), "instance", "name")[0] == "daemon"
    assert origin(Instance(), "instance", "nmae")[0] == "undefined"
    assert origin(Instance(), "properties") == ("property", "all properties of the rule")
    assert origin(Instance(), "instnace") == ("undefined", "no host provides this name")
    assert origin(Instance(), "pongo2", "version")[0] == "daemon"
    assert origin(Instance(), "trigger")[0] == origin(Instance(), "path")[0] == "daemon"
    assert origin(Instance(), "instnace", "name")[0] == "undefined"


def test_the_privileged_variable_has_the_origin_of_its_configuration_key():
    profile = Profile("trusted", {"security.privileged": "true"})
    assert origin(Instance(profiles=(profile,)), "instance", "privileged") == ("profile", "trusted")
    assert origin(Instance(), "instance", "privileged")[0] == "daemon"
    assert origin(Instance(type="virtual-machine"), "instance", "privileged")[0] == "undefined"


def test_a_generated_key_has_the_origin_image_or_daemon():
    image, instance = open_image(str(IMAGES / "debian-cloud")), Instance("w1", config={"image.os": "mine"})
    options = RenderOptions(HOSTS["incus"])
    made = plan_image(image, instance, options, triggers=("create",), new=True, placeholders=True)
    found = {
        key: origin(instance, "config", key, made=made.instance, metadata=made.metadata)
        for key in ("image.os", "image.release", "volatile.uuid", "volatile.apply_template")
    }
    assert found["image.os"] == found["image.release"] == ("image", "")
    assert found["volatile.uuid"] == found["volatile.apply_template"] == ("daemon", "")


def test_recorded_volatile_keys_come_from_the_daemon():
    config = {"volatile.uuid": "1", "image.os": "debian"}
    instance = Instance(config=config)
    assert origin(instance, "config", "volatile.uuid") == ("daemon", "recorded in the description")
    assert origin(instance, "config", "image.os") == ("image", "recorded in the description")


def description(tmp_path, **keys):
    file = tmp_path / "i.json"
    file.write_text(json.dumps({"name": "w1", **keys}))
    return file


def test_output_of_incus_list_separates_local_and_profile_keys(tmp_path):
    file = description(
        tmp_path, profiles=["web"], config={"user.a": "1"}, expanded_config={"user.a": "1", "user.b": "2"},
        devices={}, expanded_devices={"eth0": {"type": "nic"}},
    )  # fmt: skip
    instance = read_instance(file)
    assert origin(instance, "config", "user.a") == ("local", "")
    assert origin(instance, "config", "user.b") == ("profile", "web")
    assert origin(instance, "devices", "eth0", "type") == ("profile", "web")


def test_an_origin_includes_all_profiles_for_merged_keys(tmp_path):
    file = description(
        tmp_path, profiles=["default", "web"], config={}, expanded_config={"user.b": "2"}, devices={},
        expanded_devices={},
    )  # fmt: skip
    assert origin(read_instance(file), "config", "user.b") == ("profile", "default or web")
    given = tmp_path / "web.yaml"
    given.write_text("name: web\nconfig: {user.c: x}\n")
    instance = read_instance(file, profiles=[given])
    assert origin(instance, "config", "user.c") == ("profile", "web")
    assert origin(instance, "config", "user.b") == ("profile", "default")


def test_expanded_keys_except_daemon_keys_have_the_origin_named_merged(tmp_path):
    file = description(
        tmp_path, profiles=["default"], config={"user.a": "1", "volatile.uuid": "1"}, devices={}
    )
    instance = read_instance(file, expanded=True)
    assert origin(instance, "config", "user.a") == ("merged", "default")
    assert origin(instance, "config", "volatile.uuid")[0] == "daemon"


def test_a_file_with_too_many_lines_is_not_explained():
    instance = Instance(config={"user.x": "\n" * 200_000})
    image = open_image(str(IMAGES / "debian-cloud"))
    options = RenderOptions(HOSTS["incus"], clock=1.0, seed=1)
    instance = instance.replace(config={"user.user-data": "\n" * 200_000 + "x"})
    found = plan(image, instance, triggers=("create",), clock=1.0, seed=1)
    layers = Layers(instance, instance, found.metadata)
    explained = {
        change.path: Explainer(read_templates(image, found.metadata), layers, options).lines(change)
        for change in found.changes
    }
    assert explained["/var/lib/cloud/seed/nocloud-net/user-data"] is None
    assert explained["/etc/hostname"] is not None
    assert all(change.action != FAILED for change in found.changes)


def test_a_file_with_too_many_origins_is_not_explained(monkeypatch):
    text = b"{% if instance.name %}{{ instance.name }}\n{{ instance.type }}{% endif %}\n"
    instance, options = Instance("w1"), RenderOptions(HOSTS["incus"], clock=1.0, seed=1)
    templates = {"x.tpl": TemplateFile(Entry(FILE), text)}
    (rendering,) = render(Metadata(rules=(RULE,)), templates, instance, ("create",), options)
    explainer = Explainer(templates, Layers(instance, instance, Metadata(rules=(RULE,))), options)
    lines = explainer.lines(rendering)
    count = sum(len(part.origins) + len(part.because) for line in lines for part in line.parts)
    assert sum(len(part.because) for line in lines for part in line.parts) >= 2
    for most, explained in ((count, lines), (count - 1, None)):
        monkeypatch.setattr("templater.rendering.origins.MAX_ORIGINS", most)
        assert explainer.lines(rendering) == explained


def test_each_key_appears_once_in_an_explanation_with_all_line_numbers():
    text = '{{ config_get("user.a", path) }}\n{% for k, v in config %}{{ v }}{% endfor %}\n{{ config["user.a"] }}'
    layers = Layers(Instance(), Instance(), Metadata())
    found = readings(Source("x.tpl", text), RULE, layers, "v6.1")
    assert [(reading.origin.name, reading.lines) for reading in found] == [
        ("user.a", (1, 3)), ("path", (1,)), ("all configuration keys", (2,)),
    ]  # fmt: skip


def test_an_explanation_includes_a_condition_even_if_the_condition_printed_nothing():
    image, instance = open_image(str(IMAGES / "openwrt")), Instance("w1")
    found = plan(image, instance, triggers=("create",), clock=1.0, seed=1)
    layers = Layers(instance, instance, found.metadata)
    options = RenderOptions(HOSTS["incus"], clock=1.0, seed=1)
    (change,) = (change for change in found.changes if change.path.endswith("10-network"))
    lines = Explainer(read_templates(image, found.metadata), layers, options).lines(change)
    parts = [part for line in lines for part in line.parts if part.kind == NOTHING]
    assert [(part.line, [origin.name for origin in part.because]) for part in parts] == [(8, ["user.wan"])]


@pytest.mark.parametrize(
    ("template", "keys"),
    [
        ("{{ config_get('user.a', '') }}{{ config['user.b'] }}", {"user.a", "user.b"}),
        ("{{ instance.name }}", set()),
        ("{{ instance.privileged }}", {"security.privileged"}),
        ("{% for k in instance %}{{ k }}{% endfor %}", {"security.privileged"}),
        ("{% for k in config %}{{ k }}{% endfor %}", None),
        ("{% nosuch %}", None),
    ],
)
def test_a_template_with_the_privileged_field_reads_the_security_privileged_key(template, keys):
    assert keys_read([Source("t", "x"), Source("t", template)], "v6", 10.0) == keys
    assert keys_read([Source("t", template)], "v6", -1.0) is None


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        (Origin("a", "profile", "default"), "profile default"), (Origin("a", "merged", "p"), "local or from profile p"),
        (Origin("a", "merged"), "local or from a profile"), (Origin("a", "local"), "local key"),
        (Origin("a", "local", "x"), "local key (x)"), (Origin("a", "property"), "rule property"),
        (Origin("a", "property", "", Source("metadata.yaml", "\na").span(1, 2)), "rule property, line 2 of metadata.yaml"),
        (Origin("a", "image", "", Source("metadata.yaml", "\na").span(1, 2)), "image property"),
    ],
)  # fmt: skip
def test_the_description_of_an_origin_contains_the_profile_or_the_line(origin, words):
    assert origin.words == words
