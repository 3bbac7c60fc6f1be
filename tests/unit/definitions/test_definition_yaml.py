"""The strict reader of definitions: fields, parameters, and the position of each mistake."""

import pytest

from templater.definitions.definition_yaml import read_definition
from templater.model.errors import InputError, LimitError, UsageError
from templater.model.source import Source

IMAGE = "image: {distribution: tiny}\n"


def read(text: str, *parameters: str):
    return read_definition(Source("d.yaml", text), parameters)


def test_a_text_field_keeps_numbers_and_booleans_and_dates_as_written():
    definition = read("image: {distribution: 1_0, release: 22.10, variant: yes, serial: 2026-01-02}")
    assert definition.data["image"] == {
        "distribution": "1_0",
        "release": "22.10",
        "variant": "yes",
        "serial": "2026-01-02",
    }


def test_a_field_with_the_value_null_counts_as_missing():
    assert read("image: {distribution: tiny, release: ~}\nfiles:\n").data == {
        "image": {"distribution": "tiny"}
    }


def test_a_merge_key_adds_the_fields_of_an_anchor():
    text = IMAGE + "files:\n- &a {generator: dump, path: /a, uid: 1}\n- {<<: *a, path: /b}\n"
    assert read(text).files[1] == {"generator": "dump", "path": "/b", "uid": "1"}


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        (
            "[]",
            "1:1",
            "the definition must be a mapping, not a sequence",
            "a definition is a YAML mapping with the keys image, source and files",
        ),
        (
            "a: 1",
            "1:1",
            "unknown key 'a' in the definition",
            "known keys: image, source, targets, files, packages, actions, mappings, environment, simplestream",
        ),
        (
            "image: {distribution: a, foo: b}",
            "1:26",
            "unknown key 'foo' in 'image'",
            "known keys: description, distribution, release, architecture, expiry, variant, name, serial, architecture_mapped, architecture_kernel, architecture_personality",
        ),
        ("image: tiny", "1:8", "'image' must be a mapping, not a scalar", ""),
        (IMAGE + "files: {}", "2:8", "'files' must be a list, not a mapping", ""),
        (
            IMAGE + "files:\n- {generator: dump, create_only: true}",
            "3:21",
            "unknown key 'create_only' in 'files.0'",
            "a definition can't set create_only, because a build sets it to false in each rule",
        ),
        (
            IMAGE + "files:\n- {generator: dump, releases: noble}",
            "3:31",
            "'files.0.releases' must be a list, not a scalar",
            "write the value as [noble]",
        ),
        (
            IMAGE + "files:\n- {generator: dump, pongo: maybe}",
            "3:28",
            "'files.0.pongo' must be true or false, not 'maybe'",
            "",
        ),
        (
            IMAGE + "files:\n- {generator: dump, types: [vms]}",
            "3:29",
            "invalid filter type 'vms'",
            "write container, vm or both",
        ),
        (IMAGE + "files:\n- {generator: dmp}", "3:15", "unknown generator 'dmp'", "did you mean 'dump'?"),
        (
            IMAGE + "files:\n- {path: /a}",
            "3:3",
            "the entry has no generator",
            "known generators: dump, copy, template, hostname, hosts, remove, cloud-init, incus-agent, lxd-agent, fstab",
        ),
        (
            IMAGE + "targets: {incus: {vm: {size: 4G}}}",
            "2:30",
            "'targets.incus.vm.size' must be a number, not '4G'",
            "",
        ),
        (
            "image: {distribution: a, distribution: b}",
            "1:26",
            "duplicate key 'distribution', first in line 1",
            "",
        ),
        (
            IMAGE + "targets: {incus: {}}\nsimplestream: {}",
            "3:1",
            "only lxd-imagebuilder accepts 'simplestream', and only distrobuilder accepts 'targets.incus'",
            "remove 'simplestream' or 'targets.incus': neither program builds a definition that contains both",
        ),
        (
            IMAGE + "targets: {lxd: {}}\nfiles:\n- generator: incus-agent",
            "4:14",
            "only distrobuilder accepts the generator 'incus-agent', and only lxd-imagebuilder accepts 'targets.lxd'",
            "remove the generator 'incus-agent' or 'targets.lxd': neither program builds a definition that contains both",
        ),
        (
            "image: {distribution: a}\nsource: {downloader: alpaquita-http}\ntargets: {lxd: {}}",
            "3:11",
            "only lxd-imagebuilder accepts 'targets.lxd', and only distrobuilder accepts the downloader 'alpaquita-http'",
            "remove 'targets.lxd' or the downloader 'alpaquita-http': neither program builds a definition that contains both",
        ),
        (
            IMAGE + "source: {downloader: debotstrap}",
            "2:22",
            "unknown downloader 'debotstrap'",
            "did you mean 'debootstrap'?",
        ),
        (
            IMAGE + "packages: {custom_manager: {}}",
            "2:28",
            "the custom package manager has no command 'clean'",
            "add, for example: clean: {cmd: 'true'}",
        ),
        (
            IMAGE + "actions: [{}]",
            "2:11",
            "the entry has no trigger",
            "known triggers: post-files, post-packages, post-unpack, post-update",
        ),
        (
            "architecture: x86_64\ncreation_date: 1",
            "1:1",
            "unknown key 'architecture' in the definition",
            "this looks like the metadata.yaml of an image: give the image's directory as SRC",
        ),
    ],
)
def test_an_error_has_the_position_of_the_mistake(text, place, message, hint):
    with pytest.raises(InputError) as caught:
        read(text)
    assert (caught.value.message, caught.value.hint) == (message, hint)
    assert caught.value.span is not None
    assert caught.value.span.place == f"d.yaml:{place}"


def test_an_error_has_notes_about_other_problems():
    with pytest.raises(InputError) as caught:
        read("a: 1\nb: 2\nimage: []")
    assert [note.split(": ")[1] for note in caught.value.notes] == ["d.yaml:2:1", "d.yaml:3:8"]


def test_a_parameter_can_set_a_field_or_list_entry():
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
    ("parameter", "message", "hint"),
    [
        (
            "image.release",
            "-o 'image.release' is not KEY=VALUE with exactly one '='",
            "for example: -o image.release=noble",
        ),
        (
            "image.release=a=b",
            "-o 'image.release=a=b' is not KEY=VALUE with exactly one '='",
            "for example: -o image.release=noble",
        ),
        ("=a", "-o '=a' is not KEY=VALUE with exactly one '='", "for example: -o image.release=noble"),
        (
            "image.relase=a",
            "-o 'image.relase=a' names no field that can be set",
            "did you mean 'image.release'?",
        ),
        ("image=a", "-o 'image=a' names no field that can be set", "did you mean 'image.name'?"),
        (
            "nosuch.field=a",
            "-o 'nosuch.field=a' names no field that can be set",
            "for example: image.description, image.distribution, image.release, image.architecture, image.expiry, image.variant, image.name, image.serial",
        ),
        ("files.3.content=a", "-o 'files.3.content=a': the list has no entry 3", ""),
        ("files.x.content=a", "-o 'files.x.content=a': the list has no entry x", ""),
        ("targets.incus.vm.size=4G", "-o 'targets.incus.vm.size=4G': '4G' is not a number", ""),
        (
            f"targets.incus.vm.size={'9' * 5000}",
            f"-o 'targets.incus.vm.size={'9' * 5000}': '{'9' * 5000}' is not a number",
            "",
        ),
        (
            f"files.{'9' * 5000}.path=/x",
            f"-o 'files.{'9' * 5000}.path=/x': the list has no entry {'9' * 5000}",
            "",
        ),
        (
            "targets.type=vm",
            "-o 'targets.type=vm' names no field that can be set",
            "for example: image.description, image.distribution, image.release, image.architecture, image.expiry, image.variant, image.name, image.serial",
        ),
        (
            "packages.custom_manager.clean.cmd=a",
            "-o 'packages.custom_manager.clean.cmd=a' names no field that can be set",
            "for example: image.description, image.distribution, image.release, image.architecture, image.expiry, image.variant, image.name, image.serial",
        ),
        ("packages.update=maybe", "-o 'packages.update=maybe': write true or false", ""),
        (
            "image.release.x=a",
            "-o 'image.release.x=a' names no field that can be set",
            "did you mean 'image.release'?",
        ),
    ],
)
def test_an_invalid_parameter_is_a_usage_error(parameter, message, hint):
    with pytest.raises(UsageError) as caught:
        read(IMAGE, parameter)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_definition_is_limited_in_size_and_depth():
    assert read(IMAGE.ljust(1 << 20)).text("image.distribution") == "tiny"
    with pytest.raises(LimitError):
        read(IMAGE.ljust((1 << 20) + 1))
    with pytest.raises(LimitError):
        read("image: " + "[" * 100 + "]" * 100)


@pytest.mark.parametrize(
    ("value", "found"),
    [("1", True), ("t", True), ("True", True), ("0", False), ("F", False), ("FALSE", False)],
)
def test_boolean_parameters_for_list_entries_accept_the_spellings_of_go(value, found):
    text = IMAGE + "files:\n- {generator: dump, path: /a, content: a}\n"
    assert read(text, f"files.0.pongo={value}").files[0]["pongo"] is found


def test_a_merge_key_requires_one_or_more_mappings():
    with pytest.raises(InputError) as caught:
        read(IMAGE + "files:\n- {<<: a, generator: dump, path: /b}\n")
    assert caught.value.message == "'<<' needs a mapping or a list of mappings"
    with pytest.raises(InputError) as caught:
        read(IMAGE + "x: &x {generator: dump}\nfiles:\n- {<<: [*x, 5], path: /b}\n")
    assert "'<<' needs a mapping or a list of mappings" in caught.value.explain()
    with pytest.raises(InputError) as caught:  # Go refuses an alias of a list
        read(IMAGE + "x: &x [{generator: dump}]\nfiles:\n- {<<: *x, path: /b}\n")
    assert "'<<' needs a mapping or a list of mappings" in caught.value.explain()


def test_a_null_field_counts_as_an_empty_list_or_mapping():
    assert "files" not in read(IMAGE + "files: ~\n").data
    assert read(IMAGE + "targets: {incus: ~}\n").data.get("targets", {}).get("incus", {}) == {}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        *((each, True) for each in ("1", "t", "T", "true", "TRUE", "True")),
        *((each, False) for each in ("0", "f", "F", "false", "FALSE", "False")),
    ],
)
def test_a_boolean_parameter_accepts_spellings_of_the_go_language(value, found):
    definition = read("image: {distribution: a}\npackages: {update: true}\n", f"packages.update={value}")
    assert definition.data["packages"]["update"] is found


def test_a_parameter_value_has_no_position_in_the_definition():
    text = "image:\n  distribution: a\n  release: old\n"
    assert read(text).span("image.release").place == "d.yaml:3:12"
    definition = read(text, "image.release=new")
    assert definition.data["image"]["release"] == "new"
    assert definition.span("image.release").place == "d.yaml:1:1"
    assert definition.span("image.release", "image").place == "d.yaml:2:3"
