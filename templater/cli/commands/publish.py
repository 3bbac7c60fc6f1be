"""``templater publish``: make an image from a container."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from ...limit_option import COMMAND, IMAGE, Given
from ...model.errors import UsageError
from ...model.unprintable_characters import printable
from .. import completers, options, output
from ..enforce_limits import guarded
from ..packing import output_option, pack, packing_options, report, seconds_of, source_date_epoch, warn_of
from .unpack import ids_of

HELP = """Make an image of a container, as `incus publish` does.

The image has the container's root filesystem, metadata.yaml and templates, with architecture and creation
date set. DIR is the directory of an instance or of an LXC container (/var/lib/lxc/NAME); DIR/SNAPSHOT is one
of its snapshots. In the image, files have the owner ids that they have inside the container. Only you can
read the new file, because it contains the container's passwords and keys.

Properties that describe the base image's build are dropped: description, serial, name, label, version, type.
To keep a property, name it with --keep, or answer yes when the command asks on a terminal. A property that
you set is not dropped.

\b
Examples:
  templater publish /var/lib/templater/web1 -o web.tar.gz os=Debian
  templater publish /var/lib/lxc/web1/snap0 -o out/ --keep serial
"""


@click.command(help=HELP)
@click.argument("source", metavar="DIR[/SNAPSHOT]", shell_complete=completers.files)
@click.argument("properties", metavar="[KEY=VALUE]…", nargs=-1)
@output_option
@packing_options
@click.option("--expire", metavar="DATE", help="When the image expires: RFC 3339, or seconds since 1970.")
@click.option(
    "--keep", multiple=True, metavar="KEY", help="Keep this property of the base image; repeatable."
)
@click.option(
    "--idmap",
    "ranges",
    multiple=True,
    metavar="[u:|g:]INSIDE:OUTSIDE:COUNT",
    help="Map ids of the container to ids on disk."
    " [default: the owner of rootfs is the container's root user]",
)
@click.option("--force", is_flag=True, help="Publish the container even if it is running.")
@options.limit_option(IMAGE, COMMAND)
@options.json_option
@guarded
def command(
    source: str,
    properties: tuple[str, ...],
    target: str,
    expire: str | None,
    keep: tuple[str, ...],
    ranges: tuple[str, ...],
    force: bool,
    limits: Given,
    as_json: bool,
    **packing: Any,
) -> None:
    from ...image.publish_container import find, publication, refuse_running

    path = find(source)
    if not force:
        refuse_running(path)
    refuse_unknown(path, keep)
    epoch = source_date_epoch()
    given = options.pairs_of(properties, what="templater publish web1 -o web1.tar.gz")
    found = publication(
        path,
        now=int(time.time()) if epoch is None else epoch,
        properties=given,
        keep=(*keep, *asked(path, given, keep)),
        expiry=None if expire is None else seconds_of(expire),
        ids=ids_of(ranges) if ranges else None,
        latest=epoch,
        limits=limits.for_images(),
    )
    warn_of(found.parts, path)
    if found.dropped:
        output.say(
            f"dropped properties of the base image: {', '.join(found.dropped)} (--keep NAME keeps a property)"
        )
    report(pack(found.contents, found.parts, target, packing, epoch, private=True), as_json)


def refuse_unknown(path: str, keep: tuple[str, ...]) -> None:
    """Raise UsageError if ``--keep`` names a property that the base image does not have."""
    from ...image.publish_container import properties_of

    known = properties_of(path)
    for name in keep:
        if name not in known:
            raise UsageError(
                f"the base image has no property '{printable(name)}' to keep",
                hint=f"its properties are {', '.join(map(printable, known))}" if known else "",
            )


def asked(path: str, given: dict[str, str], keep: tuple[str, ...]) -> list[str]:
    """Ask on a terminal which properties of the base image to keep."""
    from ...image.publish_container import stale_of

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return []
    return [
        name
        for name, value in stale_of(path).items()
        if name not in given
        and name not in keep
        and click.confirm(f"keep the base image's {name} '{printable(value)}'?", err=True)
    ]
