"""``templater image edit``: edit an image's metadata.yaml. Other image commands use this file's functions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ....model.errors import TemplaterError, UsageError
from ....model.file_names import METADATA
from ... import complete, options, output
from ...guard import guarded_alone, paused
from ...progress import progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ....model.source import Source

HELP = """Change an image's metadata.yaml in an editor.

The editor is $VISUAL or $EDITOR. If standard input is a pipe, templater reads the new text from it instead.

SRC is a directory or a tarball. Everything else in a tarball stays unchanged. Text that the daemons can't
read is refused. The old and new fingerprints are printed. Architecture and creation date identify an image,
and change only with --force.

\b
Examples:
  templater image edit image.tar.xz
  sed s/bookworm/trixie/ metadata.yaml | templater image edit image.tar.xz
"""

rootfs_option = click.option(
    "--rootfs",
    metavar="FILE",
    help="Second file of a split image. It is read for the fingerprint, and not changed.",
    shell_complete=complete.files,
)
force_option = click.option("--force", is_flag=True, help="Allow changes of architecture and creation date.")


@click.command(help=HELP)
@options.source_argument
@rootfs_option
@force_option
@options.json_option
@guarded_alone
def command(src: str, rootfs: str | None, force: bool, as_json: bool) -> int:
    from ....image.edit import require_same_identity

    before = metadata_of(src)
    after = _from_editor(before) if sys.stdin.isatty() else _from_stdin(before)
    if after.text == before.text:
        output.say("nothing changed")
        return 0
    require_same_identity(before, after, force=force)
    save(src, {METADATA: after.data}, rootfs=rootfs, as_json=as_json)
    return 0


def metadata_of(src: str) -> Source:
    """Return metadata.yaml of an image. Raises an error if it is unreadable."""
    from ....image.open import open_image

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
    from ....image.repack import replace

    with progress("packing") as show:
        found = replace(src, changes, added or {}, rootfs=rootfs, progress=show)
    if as_json:
        output.write_json({"old": found.old, "new": found.new})
    elif found.new is not None and found.new == found.old:
        output.say(f"{src}: unchanged")
        output.write(found.new + "\n")
    elif found.new is not None:
        output.write(f"{found.old} -> {found.new}\n")
    else:
        output.say(f"updated {src}")


def _from_stdin(before: Source) -> Source:
    from ....model.source import Source

    return Source(before.name, sys.stdin.buffer.read())


def _from_editor(before: Source) -> Source:
    """Return the text that the user saved in the editor. If the text is invalid, open the editor again."""
    from ....model.source import Source
    from ....parsing.metadata_yaml import read_metadata

    text = before.text
    while True:
        edited = in_editor(text, ".yaml")
        if edited is None:
            return before
        after = Source(before.name, edited)
        try:
            read_metadata(after)
        except TemplaterError as error:
            output.say(error.explain())
            click.pause(
                "Press any key to open the editor again, or Ctrl-C to keep the image unchanged", err=True
            )
            text = edited
            continue
        return after


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
    from ....image import edit

    after = edit.set_values(source, properties=changes)
    edit.require_same_identity(source, after, force=force)
    return after
