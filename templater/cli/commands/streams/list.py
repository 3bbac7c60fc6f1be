"""``templater streams list``: list the images of a stream."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from ....model.instance import CONTAINER, VIRTUAL_MACHINE
from ....model.unprintable_characters import printable
from ....reporting.columns import columns
from ... import completers, options, output
from ...enforce_limits import guarded_alone
from ...output import size
from . import stream_argument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ....distribution.list_stream import Listed

HELP = """List the images of a stream.

An alias refers to the newest version, so older versions have no aliases.

\b
Examples:
  templater streams list /srv/images
  templater streams list /srv/images --html /srv/images/index.html
"""


@click.command(help=HELP)
@stream_argument
@click.option(
    "--html",
    metavar="FILE",
    help="Write a page for web browsers instead of the table.",
    shell_complete=completers.files,
)
@click.option("--title", default="Images", show_default=True, help="The page's title.")
@options.json_option
@guarded_alone
def command(stream: str, html: str | None, title: str, as_json: bool) -> None:
    from ....distribution.list_stream import list_stream
    from ....distribution.stream_interface import open_stream

    images = list_stream(open_stream(stream))
    if html is not None:
        write_page(html, images, title)
    if as_json:
        output.write_json([image.data() for image in images])
    elif html is None:
        output.write(table(images))


def write_page(path: str, images: Sequence[Listed], title: str) -> None:
    from ....distribution.stream_web_page import page
    from ....image.atomic_output import Output

    with Output(os.path.dirname(path)) as file:
        file.write(page(images, title).encode("utf-8", "replace"))
        file.publish(path, replace=True)


def table(images: Sequence[Listed]) -> str:
    rows = [("PRODUCT", "VERSION", "TYPE", "SIZE", "FINGERPRINT", "CLIENTS", "ALIASES")]
    for image in images:
        rows.append(
            (
                printable(image.product),
                printable(image.version),
                "vm" if image.type == VIRTUAL_MACHINE else CONTAINER,
                size(image.size),
                printable(image.fingerprint[:12]),
                "+".join(dict.fromkeys(client.partition("-")[0] for client in image.clients)),
                " ".join(image.shown_aliases()),
            )
        )
    return "".join(f"{line}\n" for line in columns(rows))
