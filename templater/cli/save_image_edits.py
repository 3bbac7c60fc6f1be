"""Reading an image file for the commands that change it, and saving the edited image."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from . import completers, output
from .progress import progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..model.source import Source

rootfs_option = click.option(
    "--rootfs",
    metavar="FILE",
    help="Second file of a split image. The command only reads it, to compute the fingerprint.",
    shell_complete=completers.files,
)
force_option = click.option("--force", is_flag=True, help="Allow changes of architecture and creation date.")


def open_once(src: str) -> str:
    """Open an image file, and return it. The file stays open until the command ends.

    Return the path of an image directory unchanged.
    """
    from ..image.open_file import opened

    # Another user can't replace an open file.
    return src if os.path.isdir(src) else click.get_current_context().with_resource(opened(src))


def metadata_of(src: str) -> Source:
    """Return metadata.yaml of an image. Raises an error if it is unreadable."""
    from ..image.open_image import open_image

    return open_image(src).read_metadata()


def save(
    src: str,
    changes: Mapping[str, bytes | None],
    added: Mapping[str, bytes] | None = None,
    *,
    rootfs: str | None = None,
    as_json: bool = False,
) -> None:
    """Write changes into an image, and print the old and new fingerprints."""
    from ..image.replace_files import replace

    with progress("packing") as show:
        found = replace(src, changes, added or {}, rootfs=rootfs, progress=show)
    if as_json:
        files = sorted({*changes, *(added or {})})
        output.write_json({"old": found.old, "new": found.new, "image": src, "files": files})
    elif found.new is not None and found.new == found.old:
        output.say(f"{src}: unchanged")
        output.write(found.new + "\n")
    elif found.new is not None:
        output.write(f"{found.old} -> {found.new}\n")
    else:
        output.say(f"updated {src}")


def edited(source: Source, changes: Mapping[str, Any], *, force: bool = False) -> Source:
    """Return a metadata.yaml with changed properties. A property with the value None is removed."""
    from ..image import metadata_edit

    after = metadata_edit.set_values(source, properties=changes)
    metadata_edit.require_same_identity(source, after, force=force)
    return after
