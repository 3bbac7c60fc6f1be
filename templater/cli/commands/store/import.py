"""``templater store import``: put an image into the store."""

from __future__ import annotations

import click

from ....limit_option import COMMAND, IMAGE, Given
from ....model.errors import UsageError
from ... import completers, options, output
from ...enforce_limits import guarded
from ...progress import progress

HELP = """Put an image into the store.

SRC is a unified image, the metadata tarball of a split image followed by its ROOTFS, or an image on a server.
The command fetches an image on a server completely. An imported image stays until it is deleted.

\b
Examples:
  templater store import image.tar.xz --alias debian
  templater store import images:debian/13 --alias debian --auto-update
"""


@click.command(help=HELP)
@click.argument("src", metavar="SRC", shell_complete=completers.source)
@options.rootfs_argument(required=False)
@click.option("--alias", "aliases", multiple=True, metavar="NAME", help="An alias for the image; repeatable.")
@click.option("--public", is_flag=True, help="Let `templater serve` show the image.")
@click.option(
    "--auto-update", is_flag=True, help="Let `store refresh` replace the image with newer versions."
)
@options.limit_option(IMAGE, COMMAND)
@guarded
def command(
    src: str, rootfs: str | None, aliases: tuple[str, ...], public: bool, auto_update: bool, limits: Given
) -> None:
    from ....distribution.fetch_image import fetch_source
    from ....distribution.remotes import is_remote
    from ....distribution.store import Store

    reading = limits.for_images()
    if is_remote(src) and rootfs is None:
        with progress("fetching") as show:
            fetched = fetch_source(src, whole=True, progress=show)
        for note in fetched.notes:
            output.note(note)
        image = Store().keep(
            fetched.hashes,
            source=fetched.source,
            aliases=aliases,
            public=public,
            auto_update=auto_update,
            limits=reading,
        )
    else:
        if auto_update:
            raise UsageError("--auto-update requires an image from a server", hint="give images:ALIAS")
        with progress("importing") as show:
            image = Store().import_files(
                options.existing(src), rootfs, aliases=aliases, public=public, limits=reading, progress=show
            )
    output.write(f"{image.fingerprint}\n")
