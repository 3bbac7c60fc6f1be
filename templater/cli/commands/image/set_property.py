"""``templater image set-property``: set properties in metadata.yaml."""

from __future__ import annotations

import click

from ....model.file_names import METADATA
from ... import options
from ...enforce_limits import guarded_alone
from ...save_image_edits import edited, metadata_of, open_once, rootfs_option, save

HELP = """Set properties of an image.

In metadata.yaml, only the lines of these properties change. The fingerprint changes, too.

\b
Examples:
  templater image set-property image.tar.xz description="Debian 13, our own"
  templater image set-property meta.tar.xz os Debian --rootfs rootfs.squashfs
"""


@click.command(help=HELP)
@options.source_argument
@click.argument("arguments", metavar="KEY=VALUE… | KEY VALUE", nargs=-1, required=True)
@rootfs_option
@options.json_option
@guarded_alone
def command(src: str, arguments: tuple[str, ...], rootfs: str | None, as_json: bool) -> None:
    changes = options.pairs_of(arguments, what="templater image set-property image.tar.xz")
    src = open_once(src)
    after = edited(metadata_of(src), changes)
    save(src, {METADATA: after.data}, rootfs=rootfs, as_json=as_json)
