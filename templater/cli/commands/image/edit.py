"""``templater image edit``: edit an image's metadata.yaml."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ....model.errors import TemplaterError
from ....model.file_names import METADATA
from ... import options, output
from ...enforce_limits import guarded_alone
from ...save_image_edits import force_option, metadata_of, open_once, rootfs_option, save
from ...text_editor import in_editor, wait_for_key

if TYPE_CHECKING:
    from ....model.source import Source

HELP = """Change an image's metadata.yaml in an editor.

The editor is $VISUAL or $EDITOR. If standard input is a pipe, templater reads the new text from it instead.

SRC is a directory or a tarball. In a tarball, only metadata.yaml changes. Text that the daemons can't read is
refused. The old and new fingerprints are printed. Architecture and creation date identify an image, and
change only with --force.

\b
Examples:
  templater image edit image.tar.xz
  sed s/bookworm/trixie/ metadata.yaml | templater image edit image.tar.xz
"""


@click.command(help=HELP)
@options.source_argument
@rootfs_option
@force_option
@options.json_option
@guarded_alone
def command(src: str, rootfs: str | None, force: bool, as_json: bool) -> None:
    from ....image.metadata_edit import require_same_identity

    src = open_once(src)
    before = metadata_of(src)
    after = _from_editor(before) if sys.stdin.isatty() else _from_stdin(before)
    if after.text == before.text:
        output.say("nothing changed")
        return
    require_same_identity(before, after, force=force)
    save(src, {METADATA: after.data}, rootfs=rootfs, as_json=as_json)


def _from_stdin(before: Source) -> Source:
    from ....model.source import Source

    return Source(before.name, sys.stdin.buffer.read())


def _from_editor(before: Source) -> Source:
    """Return the text that the user saved in the editor. If the text is invalid, open the editor again."""
    from ....model.source import Source
    from ....parsing.metadata_yaml import read_metadata

    text = before.data
    while True:
        edited = in_editor(text, ".yaml")
        if edited is None:
            return before
        after = Source(before.name, edited)
        try:
            read_metadata(after)
        except TemplaterError as error:
            output.say(error.explain())
            wait_for_key("Press any key to open the editor again, or Ctrl-C to keep the image unchanged")
            text = edited
            continue
        return after
