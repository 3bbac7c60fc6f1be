"""The architecture names that Incus and LXD know (shared/osarch/architectures.go in both projects)."""

from __future__ import annotations

#: One group of synonyms per line. Clients show the first name as the image's architecture.
_GROUPS = """
i686 i386 i586 386 x86 generic_32
x86_64 amd64 generic_64
armv6l armel arm
armv7l armhf armhfp armv7a_hardfp armv7 armv7a_vfpv3_hardfp
armv8l
aarch64 arm64 arm64_generic
ppc powerpc
ppc64 powerpc64
ppc64le ppc64el
s390x
mips mipsel mipsle
mips64 mips64el mips64le
riscv32
riscv64
loongarch64 loong64
"""
KERNEL_NAMES = {name: group.split()[0] for group in _GROUPS.split("\n") for name in group.split()}

#: names that only Incus releases after 6.0 know
_NEWER_INCUS = {f"x86_64_v{level}": f"x86_64_v{level}" for level in range(1, 5)}
_ONLY_LXD = {"amd64v3": "x86_64"}

#: names that at least one daemon knows
ALL_NAMES = frozenset((*KERNEL_NAMES, *_NEWER_INCUS, *_ONLY_LXD))

#: kernel architecture names and the Debian names that catalogs use instead
DEBIAN_NAMES = {
    "i686": "i386", "x86_64": "amd64", "armv6l": "armel", "armv7l": "armhf", "aarch64": "arm64",
    "ppc": "powerpc", "ppc64le": "ppc64el", "loongarch64": "loong64",
}  # fmt: skip


def kernel_name(arch: str, client: str) -> str | None:
    """Return the name that ``client`` shows for the architecture ``arch`` of a product.

    Return None if the client ignores products of this architecture.
    """
    if client == "lxd":
        first = arch.split(" ", maxsplit=1)[0]  # LXD compares only the first word of an architecture
        return KERNEL_NAMES.get(first) or _ONLY_LXD.get(first)
    if client == "incus-7" and arch in _NEWER_INCUS:
        return arch
    return KERNEL_NAMES.get(arch)
