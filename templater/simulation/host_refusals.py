"""Errors with which a host refuses an image, when it imports the image or creates an instance from it."""

from __future__ import annotations

from ..model.entry import DIRECTORY, FILE
from ..model.errors import HostError
from ..model.hosts import Host
from ..model.metadata import Metadata
from ..model.source import printable
from .simulated_instance import Folder

#: names and aliases of architectures, from Incus: shared/osarch
ARCHITECTURES = frozenset(
    (
        *("i686", "x86_64", "armv6l", "armv7l", "armv8l", "aarch64", "ppc", "ppc64", "ppc64le", "s390x"),
        *("mips", "mips64", "riscv32", "riscv64", "loongarch64"),
        *("i386", "i586", "386", "x86", "generic_32", "amd64", "generic_64", "armel", "arm", "armhf"),
        *("armhfp", "armv7a_hardfp", "armv7", "armv7a_vfpv3_hardfp", "arm64", "arm64_generic", "powerpc"),
        *("powerpc64", "ppc64el", "mipsel", "mips64el", "rv32", "rv64", "loong64"),
    )
)


def check_image(metadata: Metadata, host: Host) -> None:
    """Raise HostError if the host refuses to import an image with this metadata."""
    if metadata.architecture not in ARCHITECTURES:
        shown = f'"{metadata.architecture}"' if host.product == "lxd" else metadata.architecture
        raise HostError(
            f"{host.name} refuses to import the image: Architecture isn't supported: {printable(shown)}",
            metadata.spans.get("architecture"),
        )
    if not metadata.creation_date:
        raise HostError(
            f"{host.name} refuses to import the image: Missing creation date",
            metadata.spans.get("creation_date"),
        )


def check_links(folder: Folder, metadata: Metadata, host: Host) -> None:
    """Raise HostError if the host refuses to create an instance because a template is not a regular file."""
    if host.links_refused_at != "create":
        return
    names = {rule.template for rule in metadata.rules if rule.template and "/" not in rule.template}
    names -= {".", ".."}
    # An archive provides only the templates that rules name. A directory lists all of its templates.
    names |= set(getattr(folder.image, "template_names", tuple)())
    for name, file in sorted(folder.image.read_templates(names).items()):
        kind = file.entry.kind if file.entry is not None else "refused" if file.error is not None else ""
        if kind not in ("", FILE, DIRECTORY):
            raise HostError(
                f"{host.name} refuses to create the instance:"
                f" template '{printable(name)}' is not a regular file",
                hint="replace it with a regular file",
            )
