"""The names that distributions give to architectures: distrobuilder's ``mappings.architecture_map``."""

from __future__ import annotations

import platform
from functools import cache
from typing import TYPE_CHECKING

from ..model.architectures import KERNEL_NAMES, kernel_name
from ..model.errors import InputError
from ..model.unprintable_characters import printable
from ..pongo2.syntax.hints import did_you_mean
from .definition_yaml import LXD

if TYPE_CHECKING:
    from .definition_yaml import Definition

_MAPS: dict[str, dict[str, str]] = {
    "alpinelinux": {"i686": "x86", "x86_64": "x86_64", "armv7l": "armv7"},
    "altlinux": {"i686": "i586", "x86_64": "x86_64", "aarch64": "aarch64"},
    "archlinux": {"x86_64": "x86_64", "armv7l": "armv7", "aarch64": "aarch64"},
    "centos": {"i686": "i386"},
    "debian": {
        "i686": "i386", "x86_64": "amd64", "armv7l": "armhf", "aarch64": "arm64", "ppc": "powerpc",
        "ppc64": "powerpc64", "ppc64le": "ppc64el",
    },
    "funtoo": {
        "i686": "generic_32", "x86_64": "generic_64", "armv7l": "armv7a_vfpv3_hardfp",
        "aarch64": "arm64_generic",
    },
    "gentoo": {
        "i686": "i686", "x86_64": "amd64", "armv7l": "armv7a_hardfp", "ppc": "ppc", "ppc64": "ppc64",
        "ppc64le": "ppc64le", "s390x": "s390x",
    },
    "openwrt": {"x86_64": "x86-64", "armv7l": "armsr-armv7", "aarch64": "armsr-armv8"},
    "plamolinux": {"i686": "x86"},
    "slackware": {"i686": "i586", "x86_64": "x86_64"},
    "voidlinux": {"i686": "i686", "x86_64": "x86_64", "armv7l": "armv7l", "aarch64": "aarch64"},
}  # fmt: skip
#: the architectures with 32-bit personalities
_PERSONALITY_32 = ("i686", "armv6l", "armv7l", "armv8l", "ppc", "mips", "riscv32")
#: distrobuilder and lxd-imagebuilder accept this name of a map, but have no such map, so the build fails
_WITHOUT_MAP = "almalinux"


@cache
def local_architecture() -> str:
    """Return this machine's architecture under the name that distrobuilder and lxd-imagebuilder use."""
    machine = platform.machine()
    return KERNEL_NAMES.get(machine, machine)


def mapped_architecture(definition: Definition, architecture: str) -> str:
    """Return the distribution's name for an architecture. Filters use this name.

    Raises InputError for an unknown architecture or map.
    """
    if kernel_name(architecture, "incus-7") is None:
        raise InputError(
            f"unknown architecture '{printable(architecture)}'",
            definition.span("image.architecture", "image"),
            did_you_mean(architecture, list(KERNEL_NAMES))
            or f"known architectures: {', '.join(KERNEL_NAMES)}",
        )
    name = definition.text("mappings.architecture_map").strip()
    if not name:
        names: dict[str, str] = definition.data.get("mappings", {}).get("architectures", {})
        return names.get(architecture, architecture)
    span = definition.span("mappings.architecture_map")
    known = [each for each in _MAPS if each != "openwrt" or definition.family != LXD]
    if name == _WITHOUT_MAP:
        raise InputError(f"{definition.program} has no architecture map '{name}', so the build fails", span)
    if name not in known:
        hint = did_you_mean(name, known) or f"known maps: {', '.join(known)}"
        raise InputError(f"unknown architecture map '{printable(name)}'", span, hint)
    if architecture == "armel":
        return architecture
    return _MAPS[name].get(kernel_name(architecture, "incus-7") or "", architecture)


def personality(architecture: str) -> str:
    """Return the kernel's personality for a known architecture."""
    return "linux32" if kernel_name(architecture, "incus-7") in _PERSONALITY_32 else "linux64"


def architectures_named(definition: Definition, mapped: str) -> str:
    """Return a known architecture that the definition maps to ``mapped``, or "" if none matches."""
    for name in dict.fromkeys((mapped, *KERNEL_NAMES.values(), *KERNEL_NAMES)):
        if kernel_name(name, "incus-7") and mapped_architecture(definition, name) == mapped:
            return name
    return ""
