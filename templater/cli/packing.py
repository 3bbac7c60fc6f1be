"""Options and functions for commands that make an image, such as ``image build`` and ``publish``."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ..model.errors import UsageError
from ..model.unprintable_characters import printable
from . import completers, options, output
from .progress import of_packed, progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..image.build import Built, Packing
    from ..image.read_whole_image import Contents, Part


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
            shell_complete=completers.one_of(("none", "gzip", "bzip2", "xz", "lzma", "zstd", "lz4")),
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
    shell_complete=completers.files,
)


def source_date_epoch() -> int | None:
    """Return the environment variable SOURCE_DATE_EPOCH in seconds, or None if it is not set.

    Raises UsageError if the value is not a number.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not _is_seconds(text):
        raise UsageError(f"invalid SOURCE_DATE_EPOCH '{text[:100]}': not a number of seconds")
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
    """Write the image to ``target``, show the progress, and warn of skipped sockets and mounts.

    * ``packing``: the options of `packing_options`
    * ``private``: only the current user may read the image's files; needed for an image of an instance
    * ``total``: a function that returns the number of bytes to pack
    """
    from ..image.build import build
    from ..image.read_whole_image import DirectoryContents

    with progress("packing", total=total) as show:
        built = build(
            contents, parts, target, packing_of(packing, epoch, target), replace=packing["reuse"],
            private=private, progress=of_packed(contents, show),
        )  # fmt: skip
    if isinstance(contents, DirectoryContents):
        for name in contents.tree.left_out:
            output.say(f"warning: skipped a socket: {printable(name)}")
        for name in contents.tree.mounts:
            output.say(f"warning: skipped the file system mounted at {printable(name)}")
    return built


def packing_of(given: dict[str, Any], epoch: int | None, target: str) -> Packing:
    from ..image.build import Packing
    from ..image.compress import compression_by_name
    from ..image.file_extensions import refuse_extension

    if not os.path.isdir(target) and not target.endswith("/"):
        refuse_extension(target)
    compression = given["compression"] or compression_by_name(target)
    return Packing(given["layout"], compression, given["level"], given["rootfs_kind"], given["tar"], epoch)


def warn_of(parts: list[Part], name: str) -> None:
    """Raise an error if every daemon refuses the image. Print other findings of an audit as warnings.

    The string ``name`` is the image's name in messages.
    """
    from ..checks.audit_before_writing import check_parts

    for finding in check_parts(parts, name):
        place = f"{finding.place}: " if finding.place else ""
        advisory = f" [{finding.advisory}]" if finding.advisory else ""
        output.say(f"warning: {place}{finding.message}{advisory}")


def _is_seconds(text: str) -> bool:
    """Return whether a text is a number of seconds.

    ``str.isdigit`` alone also accepts "²" and very long texts, but int() fails for both.
    """
    return text.isascii() and text.isdigit() and len(text) < 16


def seconds_of(date: str) -> int:
    if _is_seconds(date):
        return int(date)
    try:
        moment = datetime.fromisoformat(date)
    except ValueError:
        raise UsageError(f"invalid date '{date[:100]}'", hint="for example: 2026-12-31T00:00:00Z") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def report(built: Built, as_json: bool) -> None:
    if built.without_xattrs:
        first = ", ".join(map(printable, built.without_xattrs[:5]))
        more = f" and {len(built.without_xattrs) - 5} more" if len(built.without_xattrs) > 5 else ""
        lost = "mksquashfs stores no ACLs, no attributes of the top directory, and no names with '=' or '%'"
        output.say(f"warning: {lost}; removed attributes of: {first}{more}")
    if as_json:
        files, fingerprint = list(built.files), built.fingerprint
        output.write_json(
            {"fingerprint": fingerprint, "files": files, "size": built.size, "members": built.members}
        )
        return
    output.say(f"{' and '.join(built.files)}: {built.members} members, {output.size(built.size)}")
    output.write(built.fingerprint + "\n")
