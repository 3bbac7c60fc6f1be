"""``templater image unset-property``: remove properties from metadata.yaml."""

from __future__ import annotations

import click

from ....model.file_names import METADATA
from ... import completers, options
from ...enforce_limits import guarded_alone
from ...save_image_edits import edited, metadata_of, open_once, rootfs_option, save

HELP = """Remove properties from an image.

In metadata.yaml, only the lines of these properties change. The fingerprint changes, too.

\b
Example:
  templater image unset-property image.tar.xz serial variant
"""


@click.command(help=HELP)
@options.source_argument
@click.argument("names", metavar="KEY…", nargs=-1, required=True, shell_complete=completers.properties)
@rootfs_option
@options.json_option
@guarded_alone
def command(src: str, names: tuple[str, ...], rootfs: str | None, as_json: bool) -> None:
    src = open_once(src)
    after = edited(metadata_of(src), dict.fromkeys(names))
    save(src, {METADATA: after.data}, rootfs=rootfs, as_json=as_json)
