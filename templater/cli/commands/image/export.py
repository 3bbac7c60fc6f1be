"""``templater image export``: convert an image."""

from __future__ import annotations

import os
from typing import Any

import click

from ....limit_option import COMMAND, IMAGE, Given
from ....model.errors import UsageError
from ... import completers, options
from ...enforce_limits import guard
from ...fetched_source import local_files
from ...packing import pack, packing_options, report, source_date_epoch, warn_of

HELP = """Convert an image to another format or compression.

SRC is a directory, a unified tarball, or a split image's metadata tarball followed by its ROOTFS.
If the last argument is a directory DIR, the files get the names that the daemons use: FINGERPRINT.tar.xz, or
meta-FINGERPRINT.tar.xz and FINGERPRINT.squashfs. If the last argument is a FILE, the second file of a split
image is FILE.root.

\b
Examples:
  templater image export image.tar.xz out/ --format split --rootfs squashfs
  templater image export meta.tar.xz rootfs.squashfs image.tar.zst
"""


@click.command(help=HELP)
@click.argument("files", metavar="SRC [ROOTFS] FILE|DIR", nargs=-1, shell_complete=completers.source)
@packing_options
@options.limit_option(IMAGE, COMMAND)
@options.json_option
def command(files: tuple[str, ...], limits: Given, as_json: bool, **packing: Any) -> None:
    with guard(limits):
        export(files, limits, as_json, packing)


def export(files: tuple[str, ...], limits: Given, as_json: bool, packing: dict[str, Any]) -> None:
    from ....image.read_whole_image import open_contents

    if len(files) not in (2, 3):
        raise UsageError("export needs an image and an output path", hint="templater image export SRC DIR")
    *image, target = files
    is_fetched = len(image) == 1 and not (os.path.lexists(image[0]) or image[0].startswith("store:"))
    if len(image) == 1:
        image = [path for path in local_files(image[0]) if path is not None]
    epoch = source_date_epoch()
    contents = open_contents(
        *image, limits=limits.for_images(), latest=epoch if os.path.isdir(image[0]) else None
    )
    parts = contents.parts()
    warn_of(parts, image[0])
    # An image that `publish` made from a container contains the container's passwords.
    private = not is_fetched and contents.is_private
    report(pack(contents, parts, target, packing, epoch, private=private), as_json)
