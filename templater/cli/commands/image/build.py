"""``templater image build``: pack a directory into an image."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ....model.errors import UsageError
from ....model.file_names import METADATA
from ....model.source import Source, printable
from ... import complete, options, output
from ...guard import guarded_alone
from ...image_edits import pairs_of
from ...progress import of_packed, progress, tree_size
from .info import size

if TYPE_CHECKING:
    from collections.abc import Callable

    from ....image.build import Built, Packing
    from ....image.contents import Contents, Part

HELP = """Pack a directory into an image and print its fingerprint.

DIR contains metadata.yaml, templates/ and rootfs/. Builds are reproducible: the same directory gives the same
bytes. If SOURCE_DATE_EPOCH is set, newer files get this time. KEY=VALUE sets a property in the packed
metadata.yaml, but not in the directory. The command prints warnings for the problems that `audit` reports,
and fails for an image that every daemon refuses.

A split image is two files, FILE and FILE.root. If -o names a directory, the files get the names that the
daemons use. Files get their names only when all of them are complete.

\b
Examples:
  templater image build ./image -o image.tar.xz
  templater image build ./image -o out/ --format split serial=20260101
"""


def packing_options(function: Any) -> Any:
    """Add the options of the image format, for every command that makes an image."""
    return options.decorate(
        click.option(
            "--format",
            "layout",
            type=click.Choice(["unified", "split"]),
            default="unified",
            show_default=True,
            help="One tarball, or two files: metadata and root filesystem.",
        ),
        click.option(
            "--compression",
            metavar="NAME",
            help="none, gzip, bzip2, xz, lzma, zstd or lz4. [default: from the extension of FILE, else xz]",
            shell_complete=complete.one_of(("none", "gzip", "bzip2", "xz", "lzma", "zstd", "lz4")),
        ),
        click.option(
            "--level",
            type=click.IntRange(0, 22),
            help="Compression level. [default: chosen by the compressor]",
        ),
        click.option(
            "--rootfs",
            "rootfs_kind",
            type=click.Choice(["tar", "squashfs"]),
            default="tar",
            show_default=True,
            help="Format of a split image's second file. squashfs requires mksquashfs.",
        ),
        click.option(
            "--tar",
            type=click.Choice(["pax", "gnu"]),
            default="pax",
            show_default=True,
            help="Tar format. gnu can't store extended attributes.",
        ),
        click.option("--reuse", is_flag=True, help="Replace existing files."),
    )(function)


output_option = click.option(
    "-o",
    "--output",
    "target",
    required=True,
    metavar="FILE|DIR",
    help="Where to write the image.",
    shell_complete=complete.files,
)


@click.command(help=HELP)
@click.argument("directory", metavar="DIR", shell_complete=complete.directories)
@click.argument("properties", metavar="[KEY=VALUE]…", nargs=-1)
@output_option
@packing_options
@click.option("--expire", metavar="DATE", help="Expiry date of the image: RFC 3339, or seconds since 1970.")
@options.json_option
@partial(guarded_alone, packs=True)
def command(
    directory: str,
    properties: tuple[str, ...],
    target: str,
    expire: str | None,
    as_json: bool,
    **packing: Any,
) -> int:
    from ....image.contents import DirectoryContents

    if not os.path.isdir(directory):
        raise UsageError(
            f"'{directory}' is not a directory", hint="use `templater image export` to convert an image"
        )
    epoch = source_date_epoch()
    contents = DirectoryContents(directory, latest=epoch)
    parts = edited_parts(contents.parts(), properties, expire, directory)
    built = pack(contents, parts, target, packing, epoch, total=partial(tree_size, directory))
    for name in contents.tree.left_out:
        output.say(f"warning: skipped a socket: {name}")
    for name in contents.tree.mounts:
        output.say(f"warning: skipped the file system mounted at {name}")
    report(built, as_json)
    return 0


def source_date_epoch() -> int | None:
    """Return the environment variable SOURCE_DATE_EPOCH in seconds, or None if it is not set.

    In a reproducible build, no modification time is later than this time. Raises UsageError if the value is
    not a number.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not text.isdigit():
        raise UsageError(f"invalid SOURCE_DATE_EPOCH '{text}': not a number of seconds")
    return int(text)


def pack(
    contents: Contents,
    parts: list[Part],
    target: str,
    packing: dict[str, Any],
    epoch: int | None,
    *,
    private: bool = False,
    total: Callable[[], int] | None = None,
) -> Built:
    """Write the image to ``target`` with the options of `packing_options`, and show the progress.

    If ``private`` is true, only the current user may read the new files. An image made from an instance must
    be private. ``total`` returns the number of bytes to pack.
    """
    from ....image.build import build

    with progress("packing", total=total) as show:
        return build(
            contents, parts, target, packing_of(packing, epoch, target), replace=packing["reuse"],
            private=private, progress=of_packed(contents, show),
        )  # fmt: skip


def packing_of(given: dict[str, Any], epoch: int | None, target: str) -> Packing:
    from ....image.build import Packing
    from ....image.file_extensions import compression_by_name, refuse_extension

    if not os.path.isdir(target) and not target.endswith("/"):
        refuse_extension(target)
    compression = given["compression"] or compression_by_name(target)
    return Packing(given["layout"], compression, given["level"], given["rootfs_kind"], given["tar"], epoch)


def edited_parts(
    parts: list[Part], properties: tuple[str, ...], expire: str | None, directory: str
) -> list[Part]:
    """Apply the options to metadata.yaml, check that daemons accept the image, and return the parts."""
    from ....image import metadata_edit

    changes = pairs_of(properties, what="templater image build ./image -o image.tar.xz")
    facts = {} if expire is None else {"expiry_date": str(seconds_of(expire))}
    source = metadata_edit.set_values(Source(METADATA, parts[0].data), facts=facts, properties=changes)
    parts[0].data = source.data
    parts[0].member.size = len(source.data)
    warn_of(parts, directory)
    return parts


def warn_of(parts: list[Part], name: str) -> None:
    """Raise an error if every daemon refuses the parts. Print other findings of an audit as warnings."""
    from ....checks.parts import check_parts

    for finding in check_parts(parts, name):
        place = f"{finding.place}: " if finding.place else ""
        advisory = f" [{finding.advisory}]" if finding.advisory else ""
        output.say(f"warning: {place}{finding.message}{advisory}")


def seconds_of(date: str) -> int:
    if date.isdigit():
        return int(date)
    try:
        moment = datetime.fromisoformat(date)
    except ValueError:
        raise UsageError(f"invalid date '{date}'", hint="for example: 2026-12-31T00:00:00Z") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def report(built: Built, as_json: bool) -> None:
    if built.without_acls:
        first = ", ".join(map(printable, built.without_acls[:5]))
        more = f" and {len(built.without_acls) - 5} more" if len(built.without_acls) > 5 else ""
        output.say(f"warning: squashfs can't store ACLs; removed the ACLs of: {first}{more}")
    if as_json:
        files, fingerprint = list(built.files), built.fingerprint
        output.write_json(
            {"fingerprint": fingerprint, "files": files, "size": built.size, "members": built.members}
        )
        return
    output.say(f"{' and '.join(built.files)}: {built.members} members, {size(built.size)}")
    output.write(built.fingerprint + "\n")
