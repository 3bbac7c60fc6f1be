"""``templater store``: keep images on this machine.

The module also contains functions that several of the subcommands use.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ....model.unprintable_characters import printable_lines
from ... import completers
from ...command_group import Commands

if TYPE_CHECKING:
    from ....distribution.store import StoredImage

HELP = """Keep images on this machine.

The store has images that you imported, and images that other commands fetched from servers. templater removes
a fetched image ten days after its last use. Imported images stay. Every command that reads an image accepts
`store:ALIAS`. The directory is ~/.local/share/templater/store, or templater/store in XDG_DATA_HOME.

IMAGE is an alias or the beginning of a fingerprint.
"""

command = Commands(__name__, help=HELP)

image_argument = click.argument("image", metavar="IMAGE", shell_complete=completers.stored)


def day(seconds: int) -> str:
    """Return the date of a Unix time, in UTC. Return "" for 0, which means unknown or never."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d") if seconds else ""


def data(image: StoredImage) -> dict[str, Any]:
    """Return an image as JSON data; times are in seconds since 1970."""
    # `list(…)` would call this package's module `list` once that module is imported.
    return {
        "fingerprint": image.fingerprint, "aliases": [*image.aliases], "type": image.type,
        "architecture": image.architecture, "public": image.public, "auto_update": image.auto_update,
        "cached": image.cached, "complete": image.complete, "source": image.source, "created": image.created,
        "expires": image.expires, "imported": image.imported, "used": image.used,
        "properties": dict(image.properties),
    }  # fmt: skip


def as_yaml(value: object) -> str:
    """Return a value as YAML. Texts with characters that a terminal can't show are escaped."""
    import yaml

    text = str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
    return text if printable_lines(text) == text else str(yaml.safe_dump(value, sort_keys=False))
