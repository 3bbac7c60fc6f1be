"""Each field of a definition is known, and a value of another type is refused."""

from pathlib import Path

import pytest

from templater.definitions.definition_yaml import (
    AGENTS,
    COMMANDS,
    DOWNLOADERS,
    FAMILY_OF,
    GENERATORS,
    MANAGERS,
    PACKAGE_ACTIONS,
    TRIGGERS,
    read_definition,
)
from templater.model.errors import InputError
from templater.model.source import Source

#: messages of distrobuilder
ERRORS = Path(__file__).parents[2] / "definitions/errors"
#: the fields of each struct, by their type
TEXTS = {
    "image": "description distribution release architecture expiry variant name serial architecture_mapped architecture_kernel architecture_personality",
    "source": "downloader url keyserver variant suite same_as",
    "targets.lxc": "create_message",
    "targets.lxc.config.0": "type content",
    "targets.incus.vm": "filesystem",
    "targets.lxd.vm": "size filesystem",
    "targets": "type",
    "files.0": "generator path content name mode gid uid source",
    "packages": "manager",
    "packages.custom_manager": "flags",
    "packages.custom_manager.clean": "cmd",
    "packages.custom_manager.install": "cmd",
    "packages.custom_manager.remove": "cmd",
    "packages.custom_manager.refresh": "cmd",
    "packages.custom_manager.update": "cmd",
    "packages.sets.0": "action",
    "packages.repositories.0": "name url type key",
    "actions.0": "trigger action",
    "mappings": "architecture_map",
    "environment.variables.0": "key value",
    "simplestream": "distro_name",
}
LISTS = {
    "source": "keys components",
    "targets.lxc.config.0": "releases architectures variants",
    "files.0": "releases architectures variants",
    "files.0.template": "when",
    "packages.custom_manager": "flags",
    "packages.custom_manager.clean": "flags",
    "packages.sets.0": "packages flags releases architectures variants",
    "packages.repositories.0": "releases architectures variants",
    "actions.0": "releases architectures variants",
    "environment.variables.0": "releases architectures variants",
    "simplestream.requirements.0": "releases architectures variants",
}
BOOLEANS = {
    "source": "skip_verification",
    "files.0": "templated pongo",
    "packages": "update cleanup",
    "packages.sets.0": "early",
    "actions.0": "pongo",
    "environment": "clear_defaults",
}
NUMBERS = {"targets.lxc.config.0": "before after", "targets.incus.vm": "size"}
MAPS = {
    "files.0.template": "properties",
    "mappings": "architectures",
    "simplestream": "release_aliases",
    "simplestream.requirements.0": "requirements",
}
FILTERS = ("targets.lxc.config.0", "files.0", "packages.sets.0", "packages.repositories.0", "actions.0", "environment.variables.0", "simplestream.requirements.0")  # fmt: skip
TYPES = dict.fromkeys(FILTERS, "types")
#: fields that a struct must have, by the beginning of the struct in YAML's flow style
REQUIRED = [
    ("files: [{", "generator", "dump"), ("sets: [{", "action", "install"),
    ("actions: [{", "trigger", "post-files"), ("clean: {", "cmd", "a"),
    *(("custom_manager: {", name, "{cmd: a}") for name in COMMANDS),
]  # fmt: skip
#: the values of fields that accept only a few values
VALUES = {
    "source.downloader": "busybox",
    "targets.type": "vm",
    "files.0.generator": "dump",
    "files.0.mode": "0644",
    "files.0.uid": "1",
    "files.0.gid": "1",
    "packages.manager": "apt",
    "packages.sets.0.action": "remove",
    "actions.0.trigger": "post-unpack",
    "mappings.architecture_map": "debian",
}


def definition(place, value):
    """Return a definition with a value at a place, in YAML's flow style."""
    for name in reversed(place.split(".")):
        value = f"[{value}]" if name == "0" else f"{{{name}: {value}}}"
    for start, name, required in REQUIRED:
        if f".{name}." not in f".{place}.":
            value = value.replace(start, f"{start}{name}: {required}, ")
    return value if place.startswith("image.") else f"{{image: {{distribution: a}}, {value[1:]}"


def fields(table):
    return [f"{struct}.{name}" for struct, names in table.items() for name in names.split()]


def read(place, value):
    found = read_definition(Source("d.yaml", definition(place, value)), ()).data
    for name in place.split("."):
        found = found[0] if name == "0" else found[name]
    return found


@pytest.mark.parametrize(
    ("table", "valid", "wrong"),
    [
        ({k: v for k, v in TEXTS.items() if k != "packages.custom_manager"}, ("a", "a"), "[]"),
        (LISTS, ("[a]", ["a"]), "a"),
        (TYPES, ("[vm]", ["vm"]), "[x]"),
        (BOOLEANS, ("true", True), "x"),
        (NUMBERS, ("7", 7), "x"),
        (MAPS, ("{a: b}", {"a": "b"}), "[]"),
    ],
    ids=["texts", "lists", "types", "booleans", "numbers", "mappings"],
)
def test_a_definition_field_accepts_only_values_of_its_type(table, valid, wrong):
    for place in fields(table):
        text = VALUES.get(place)
        given, expected = (text, text) if text else valid
        assert read(place, given) == expected, place
        with pytest.raises(InputError) as caught:
            read(place, wrong)
        assert caught.value.message.startswith(("invalid filter type 'x'", f"'{place}' must be ")), place


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("source.downloader", DOWNLOADERS), ("packages.manager", MANAGERS),
        ("packages.sets.0.action", PACKAGE_ACTIONS), ("actions.0.trigger", TRIGGERS),
    ],
)  # fmt: skip
def test_fields_with_fixed_values_accept_the_same_values_as_in_distrobuilder(place, names):
    """distrobuilder accepts blanks around two of the names."""
    recorded = {"source.downloader": "downloader", "packages.manager": "manager", "packages.sets.0.action": "action", "actions.0.trigger": "trigger"}  # fmt: skip
    text = (ERRORS / f"{recorded[place]}.txt").read_text()
    assert sorted(names) == sorted(text.partition("[")[2].rstrip("]\n").split())
    for name in names:
        assert read(place, name) == name
        if "." not in place.removeprefix("source.").removeprefix("packages."):
            assert read(place, f"' {name} '") == f" {name} "
        else:
            with pytest.raises(InputError, match=r"unknown (action|trigger)"):
                read(place, f"' {name} '")


def test_generators_and_program_specific_keys_have_expected_values():
    assert (
        " ".join(GENERATORS)
        == "dump copy template hostname hosts remove cloud-init incus-agent lxd-agent fstab"
    )
    assert AGENTS == {"incus-agent": "incus", "lxd-agent": "lxd"}
    assert FAMILY_OF == {"targets.incus": "incus", "targets.lxd": "lxd", "simplestream": "lxd"}
