"""Errors with which a host refuses to import an image, or to create an instance from an image."""

from __future__ import annotations

from ..model.architectures import ALL_NAMES
from ..model.entry import DIRECTORY, FILE
from ..model.errors import HostError
from ..model.hosts import Host
from ..model.metadata import Metadata
from ..model.source import printable
from .simulated_instance import Folder


def check_image(metadata: Metadata, host: Host) -> None:
    """Raise HostError if the host refuses to import an image with this metadata."""
    if metadata.architecture not in ALL_NAMES:
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
                hint="replace the template with a regular file",
            )
