"""The names of architectures in the maps of distrobuilder and lxd-imagebuilder."""

from types import SimpleNamespace

import pytest

from templater.definitions import architecture_map
from templater.definitions.architecture_map import (
    architectures_named,
    local_architecture,
    mapped_architecture,
    personality,
)
from templater.model.errors import InputError

NAMES = ("i686", "x86_64", "armv7l", "aarch64", "ppc", "ppc64", "ppc64le", "s390x", "riscv64", "armel")
ALIASES = {
    "i386": "i686",
    "amd64": "x86_64",
    "armhf": "armv7l",
    "arm64": "aarch64",
    "powerpc": "ppc",
    "ppc64el": "ppc64le",
}
#: the names in each map, in the order of ``NAMES``. "=" stands for the same name, "." for a missing name.
MAPS = {
    "alpinelinux": "x86 = armv7 . . . . . . .",
    "altlinux": "i586 = . = . . . . . .",
    "archlinux": ". = armv7 = . . . . . .",
    "centos": "i386 . . . . . . . . .",
    "debian": "i386 amd64 armhf arm64 powerpc powerpc64 ppc64el . . .",
    "funtoo": "generic_32 generic_64 armv7a_vfpv3_hardfp arm64_generic . . . . . .",
    "gentoo": "= amd64 armv7a_hardfp . = = = = . .",
    "openwrt": ". x86-64 armsr-armv7 armsr-armv8 . . . . . .",
    "plamolinux": "x86 . . . . . . . . .",
    "slackware": "i586 = . . . . . . . .",
    "voidlinux": "= = = = . . . . . .",
}


def definition(name, family="incus", architectures=()):
    return SimpleNamespace(
        text=lambda path: name if path == "mappings.architecture_map" else "",
        data={"mappings": {"architectures": dict(architectures)}},
        span=lambda *_: None,
        family=family,
        program="distrobuilder",
    )


@pytest.mark.parametrize("name", MAPS)
def test_an_architecture_map_contains_the_architecture_names_of_the_distribution(name):
    """A name that is missing in the map stays as the definition writes it."""
    expected = dict(zip(NAMES, MAPS[name].split(), strict=True))
    for architecture, mapped in expected.items():
        wanted = architecture if mapped in ".=" else mapped
        assert mapped_architecture(definition(name), architecture) == wanted
    for alias, architecture in ALIASES.items():
        mapped = expected[architecture]
        wanted = {".": alias, "=": architecture}.get(mapped, mapped)
        assert mapped_architecture(definition(name), alias) == wanted


def test_a_definition_can_replace_the_architecture_map():
    own = definition(" ", architectures={"x86_64": "pc"})
    assert [mapped_architecture(own, each) for each in ("x86_64", "i686")] == ["pc", "i686"]
    assert architectures_named(own, "pc") == "x86_64"
    assert architectures_named(own, "i686") == "i686"
    assert architectures_named(own, "none") == ""


def test_architecture_names_from_newer_releases_are_accepted():
    assert mapped_architecture(definition("debian"), "x86_64_v3") == "x86_64_v3"
    with pytest.raises(InputError) as caught:
        mapped_architecture(definition("debian"), "x86-64")
    assert caught.value.message == "unknown architecture 'x86-64'"
    assert caught.value.hint == "did you mean 'x86_64'?"


def test_the_local_architecture_gets_the_name_that_the_daemons_use(monkeypatch):
    for machine, name in (("AMD64", "AMD64"), ("amd64", "x86_64"), ("aarch64", "aarch64")):
        monkeypatch.setattr(architecture_map.platform, "machine", lambda machine=machine: machine)
        assert local_architecture.__wrapped__() == name


@pytest.mark.parametrize(
    ("name", "family", "message"),
    [
        ("openwrt", "lxd", "unknown architecture map 'openwrt'"),
        ("debain", "incus", "unknown architecture map 'debain'"),
        ("almalinux", "incus", "distrobuilder has no architecture map 'almalinux', so the build fails"),
    ],
)
def test_an_unknown_architecture_map_is_an_error(name, family, message):
    with pytest.raises(InputError) as caught:
        mapped_architecture(definition(name, family), "x86_64")
    assert caught.value.message == message
    maps = [each for each in MAPS if each != "openwrt"]
    assert caught.value.hint == {
        "debain": "did you mean 'debian'?", "openwrt": f"known maps: {', '.join(maps)}",
    }.get(name, "")  # fmt: skip


def test_architectures_of_32_bits_have_a_personality_of_32_bits():
    names = ("i686", "armv6l", "armv7l", "armv8l", "ppc", "mips", "riscv32")
    assert {personality(name) for name in names} == {"linux32"}
    assert {personality(name) for name in ("x86_64", "aarch64", "ppc64", "mips64", "riscv64")} == {"linux64"}
