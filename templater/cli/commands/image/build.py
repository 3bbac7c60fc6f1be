"""``templater image build``: pack a directory into an image."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ....limit_option import COMMAND, IMAGE, Given
from ....model.errors import UsageError
from ....model.file_names import METADATA
from ....model.source import Source
from ... import completers, options
from ...enforce_limits import guarded
from ...packing import output_option, pack, packing_options, report, seconds_of, source_date_epoch, warn_of
from ...progress import tree_size

if TYPE_CHECKING:
    from ....image.read_whole_image import Part

HELP = """Pack a directory into an image and print its fingerprint.

DIR contains metadata.yaml, templates/ and rootfs/. KEY=VALUE sets a property in the packed metadata.yaml, but
not in DIR. The command prints a warning for each problem that `audit` reports. If every daemon would refuse
the image, the command fails.

Builds are reproducible: the same directory gives the same bytes. If SOURCE_DATE_EPOCH is set, files with a
later modification time get this time in the image.

A split image is two files, FILE and FILE.root. If -o names a directory, the files get the names that the
daemons use. No file appears under its final name before all files are complete.

\b
Examples:
  templater image build ./image -o image.tar.xz
  templater image build ./image -o out/ --format split serial=20260101
"""


@click.command(help=HELP)
@click.argument("directory", metavar="DIR", shell_complete=completers.directories)
@click.argument("properties", metavar="[KEY=VALUE]…", nargs=-1)
@output_option
@packing_options
@click.option("--expire", metavar="DATE", help="Expiry date of the image: RFC 3339, or seconds since 1970.")
@options.limit_option(IMAGE, COMMAND)
@options.json_option
@guarded
def command(
    directory: str,
    properties: tuple[str, ...],
    target: str,
    expire: str | None,
    limits: Given,
    as_json: bool,
    **packing: Any,
) -> None:
    from ....image.read_whole_image import DirectoryContents

    if not os.path.isdir(directory):
        raise UsageError(
            f"'{directory}' is not a directory", hint="use `templater image export` to convert an image"
        )
    epoch = source_date_epoch()
    contents = DirectoryContents(directory, limits.for_images(), latest=epoch)
    parts = edited_parts(contents.parts(), properties, expire, directory)
    report(pack(contents, parts, target, packing, epoch, total=partial(tree_size, directory)), as_json)


def edited_parts(
    parts: list[Part], properties: tuple[str, ...], expire: str | None, directory: str
) -> list[Part]:
    """Apply the options to metadata.yaml in the parts of the image, and return the parts.

    Raise an error if every daemon refuses the image.
    """
    from ....image import metadata_edit

    changes = options.pairs_of(properties, what="templater image build ./image -o image.tar.xz")
    facts = {} if expire is None else {"expiry_date": str(seconds_of(expire))}
    source = metadata_edit.set_values(Source(METADATA, parts[0].data), facts=facts, properties=changes)
    parts[0].data = source.data
    parts[0].member.size = len(source.data)
    warn_of(parts, directory)
    return parts
