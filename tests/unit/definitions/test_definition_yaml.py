"""The strict reader of definitions: fields, parameters, and the position of each mistake."""

import pytest

from templater.definitions.definition_yaml import read_definition
from templater.model.errors import InputError, LimitError, UsageError
from templater.model.source import Source

IMAGE = "image: {distribution: tiny}\n"


def read(text: str, *parameters: str):
    return read_definition(Source("d.yaml", text), parameters)


def test_a_text_field_keeps_the_scalar_as_written():
    definition = read("image: {distribution: 1_0, release: 22.10, variant: yes, serial: 2026-01-02}")
    assert definition.data["image"] == {
        "distribution": "1_0",
        "release": "22.10",
        "variant": "yes",
        "serial": "2026-01-02",
    }


def test_null_is_a_missing_field():
    assert read("image: {distribution: tiny, release: ~}\nfiles:\n").data == {
        "image": {"distribution": "tiny"}
    }


def test_merge_keys_add_the_fields_of_an_anchor():
    text = IMAGE + "files:\n- &a {generator: dump, path: /a, uid: 1}\n- {<<: *a, path: /b}\n"
    assert read(text).files[1] == {"generator": "dump", "path": "/b", "uid": "1"}


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("[]", "1:1", "the definition must be a mapping"),
        ("a: 1", "1:1", "unknown key 'a' in the definition"),
        ("image: {distribution: a, foo: b}", "1:26", "unknown key 'foo' in 'image'"),
        ("image: tiny", "1:8", "'image' must be a mapping"),
        (IMAGE + "files: {}", "2:8", "'files' must be a list"),
        (IMAGE + "files:\n- {generator: dump, create_only: true}", "3:21", "unknown key 'create_only'"),
        (IMAGE + "files:\n- {generator: dump, releases: noble}", "3:31", "'files.0.releases' must be a list"),
        (IMAGE + "files:\n- {generator: dump, pongo: maybe}", "3:28", "must be true or false, not 'maybe'"),
        (IMAGE + "files:\n- {generator: dump, types: [vms]}", "3:29", "invalid filter type 'vms'"),
        (IMAGE + "files:\n- {generator: dmp}", "3:15", "unknown generator 'dmp'"),
        (IMAGE + "files:\n- {path: /a}", "3:3", "the entry has no generator"),
        (IMAGE + "targets: {incus: {vm: {size: 4G}}}", "2:30", "must be a number, not '4G'"),
        ("image: {distribution: a, distribution: b}", "1:26", "duplicate key 'distribution'"),
        (IMAGE + "targets: {incus: {}}\nsimplestream: {}", "3:1", "belongs to lxd-imagebuilder"),
        (IMAGE + "targets: {lxd: {}}\nfiles:\n- generator: incus-agent", "4:14", "belongs to distrobuilder"),
        ("architecture: x86_64\ncreation_date: 1", "1:1", "unknown key 'architecture'"),
    ],
)
def test_a_mistake_is_an_error_with_its_position(text, place, message):
    with pytest.raises(InputError) as caught:
        read(text)
    assert message in caught.value.message
    if place:
        assert caught.value.span is not None
        assert caught.value.span.place == f"d.yaml:{place}"


def test_an_error_lists_the_other_problems():
    with pytest.raises(InputError) as caught:
        read("a: 1\nb: 2\nimage: []")
    assert [note.split(": ")[1] for note in caught.value.notes] == ["d.yaml:2:1", "d.yaml:3:8"]


def test_a_parameter_sets_a_field_and_a_list_entry():
    definition = read(
        IMAGE + "files:\n- {generator: dump}\n",
        "image.release=noble",
        "files.0.content=x",
        "targets.incus.vm.size=3",
    )
    assert definition.text("image.release") == "noble"
    assert definition.files[0]["content"] == "x"
    assert definition.data["targets"] == {"incus": {"vm": {"size": 3}}}


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("image.release", "exactly one '='"),
        ("image.release=a=b", "exactly one '='"),
        ("=a", "exactly one '='"),
        ("image.relase=a", "names no field"),
        ("image=a", "names no field"),
        ("nosuch.field=a", "names no field"),
        ("files.3.content=a", "no entry 3"),
        ("files.x.content=a", "no entry x"),
        ("targets.incus.vm.size=4G", "'4G' is not a number"),
        (f"targets.incus.vm.size={'9' * 5000}", "is not a number"),
        (f"files.{'9' * 5000}.path=/x", "the list has no entry 999"),
        ("packages.update=maybe", "write true or false"),
        ("image.release.x=a", "names no field"),
    ],
)
def test_an_invalid_parameter_is_a_usage_error(parameter, message):
    with pytest.raises(UsageError, match=message):
        read(IMAGE, parameter)


def test_a_definition_is_limited_in_size_and_depth():
    with pytest.raises(LimitError):
        read("#" * (1 << 20) + "\n" + IMAGE)
    with pytest.raises(LimitError):
        read("image: " + "[" * 100 + "]" * 100)
