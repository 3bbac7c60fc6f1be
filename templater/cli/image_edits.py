"""Functions and options that are shared by the commands that change an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..model.errors import UsageError
from . import completers, output
from .command_limits import paused
from .progress import progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..model.source import Source

rootfs_option = click.option(
    "--rootfs",
    metavar="FILE",
    help="Second file of a split image. It is read for the fingerprint, and not changed.",
    shell_complete=completers.files,
)
force_option = click.option("--force", is_flag=True, help="Allow changes of architecture and creation date.")


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
    from ..image.write_edits import replace

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


def in_editor(text: str, extension: str) -> str | None:
    """Open the text in an editor. Return the saved text, or None if the user did not save."""
    try:
        with paused():
            return click.edit(text, extension=extension)
    except click.ClickException as error:
        raise UsageError(
            f"the editor failed, and the image is unchanged: {error.message}",
            hint="set $VISUAL or $EDITOR to an editor",
        ) from error


def pairs_of(arguments: tuple[str, ...], *, what: str) -> dict[str, str]:
    """Parse ``KEY=VALUE…``, or ``KEY VALUE`` as in ``incus image set-property``."""
    if len(arguments) == 2 and not any("=" in argument for argument in arguments):
        return {arguments[0]: arguments[1]}
    found: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise UsageError(f"'{argument}' is not KEY=VALUE", hint=f"for example: {what} os=Debian")
        found[name] = value
    return found


def edited(source: Source, changes: Mapping[str, Any], *, force: bool = False) -> Source:
    """Return the source with changed properties. A property with the value None is removed."""
    from ..image import metadata_edit

    after = metadata_edit.set_values(source, properties=changes)
    metadata_edit.require_same_identity(source, after, force=force)
    return after
