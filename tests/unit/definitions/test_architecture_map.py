"""The names of architectures in the maps of distrobuilder and lxd-imagebuilder."""

from types import SimpleNamespace

import pytest

from templater.definitions.architecture_map import mapped_architecture, personality
from templater.model.errors import InputError

NAMES = ("i686", "x86_64", "armv7l", "aarch64", "ppc", "ppc64", "ppc64le", "s390x", "riscv64", "armel")
#: the names in each map, in the order of ``NAMES``; "." is a name that the map does not change
MAPS = {
    "alpinelinux": "x86 . armv7 . . . . . . .",
    "altlinux": "i586 . . . . . . . . .",
    "archlinux": ". . armv7 . . . . . . .",
    "centos": "i386 . . . . . . . . .",
    "debian": "i386 amd64 armhf arm64 powerpc powerpc64 ppc64el . . .",
    "funtoo": "generic_32 generic_64 armv7a_vfpv3_hardfp arm64_generic . . . . . .",
    "gentoo": ". amd64 armv7a_hardfp . . . . . . .",
    "openwrt": ". x86-64 armsr-armv7 armsr-armv8 . . . . . .",
    "plamolinux": "x86 . . . . . . . . .",
    "slackware": "i586 . . . . . . . . .",
    "voidlinux": ". . . . . . . . . .",
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
def test_a_map_gives_the_distribution_s_names_of_architectures(name):
    expected = dict(zip(NAMES, MAPS[name].split(), strict=True))
    for architecture, mapped in expected.items():
        wanted = architecture if mapped == "." else mapped
        assert mapped_architecture(definition(name), architecture) == wanted
    assert mapped_architecture(definition(name), "amd64") == {
        "debian": "amd64", "gentoo": "amd64", "funtoo": "generic_64", "openwrt": "x86-64", "centos": "amd64",
        "plamolinux": "amd64",
    }.get(name, "x86_64")  # fmt: skip


def test_names_of_the_definition_replace_a_map():
    own = definition(" ", architectures={"x86_64": "pc"})
    assert [mapped_architecture(own, each) for each in ("x86_64", "i686")] == ["pc", "i686"]


@pytest.mark.parametrize(
    ("name", "family", "message"),
    [
        ("openwrt", "lxd", "unknown architecture map 'openwrt'"),
        ("debain", "incus", "unknown architecture map 'debain'"),
        ("almalinux", "incus", "distrobuilder has no architecture map 'almalinux', so the build fails"),
    ],
)
def test_an_unknown_map_is_an_error(name, family, message):
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
